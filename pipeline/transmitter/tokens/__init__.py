"""Tokens: from Kafka records to signed tokens in the queues of streams."""
