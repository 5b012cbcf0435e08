"""What Kafka and processors say to each other: processor, outcome, message, observer, eviction, failpoints.

A processor takes a chunk of records of one partition and returns an outcome: messages to send and rows to keep.
"""
