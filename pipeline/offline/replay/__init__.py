"""Replay of recorded events through the processors, without Kafka, and the comparison of two runs."""
