"""The contract of every Kafka topic: pydantic models of its records, and the decoder and encoder for them.

JSON Schema and AsyncAPI in `json/` are generated from the models. This package imports neither `models` nor `pipeline`,
and reads no clock, socket or random source.
"""
