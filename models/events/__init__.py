"""Events as columns: the JSON reader of the fast path, decoded event types, and bit marks of what each event says.

A chunk of Kafka records becomes one `Columns` of arrays; strings are looked up once and kept as numbers.
"""
