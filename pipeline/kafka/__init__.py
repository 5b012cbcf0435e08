"""The Kafka layer: the only package that imports Faust, aiokafka or confluent_kafka, or uses private parts of them.

Consumers feed partition tasks, which run processors chunk by chunk; the producer writes messages and changelog rows,
and offsets are committed only after both were acknowledged. `faust_internals` lists the private parts of Faust and
aiokafka that this rests on.
"""
