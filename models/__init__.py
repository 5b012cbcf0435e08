"""Features, session state, the fold over events, roles and anomaly detectors: what is known and learned about sessions.

This layer imports the wire contract (`schemas`) below it, and nothing about decisions, Kafka or Faust above it.
"""
