"""Events as columns: decoder of API calls, arrays of a decoded chunk, tables of what operations and contexts mean.

A chunk of Kafka records becomes arrays; each string is looked up once and stored as a number.
"""
