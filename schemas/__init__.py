"""Floor 0: what is said on the wire, and nothing else.

The pydantic models here are the contract; JSON Schema and AsyncAPI in `json/` are generated from them.
May not import `models` or `pipeline`, nor read a clock, a socket or a random source.
"""
