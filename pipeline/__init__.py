"""Floors 2 to 4: decides about sessions (core, pure), wires that to Kafka (edge), opens it to people (doors).

Stands on `models` and `schemas`; neither may import from here.
"""
