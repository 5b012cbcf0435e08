"""What is said: from records in Kafka to signed tokens in the queues of streams."""
