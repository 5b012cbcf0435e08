"""What is seen and learned: features (a table), session state (columns), the fold, detectors and training.

This floor knows the wire contract below it and nothing of rules, decisions, Kafka or Faust above it.
"""
