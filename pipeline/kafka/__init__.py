"""The Kafka layer, the only package that imports Faust, aiokafka or confluent_kafka.

Consumers feed partition tasks, which run processors chunk by chunk; the producer writes changelog rows and
messages, and offsets are committed only after both were acknowledged.
"""
