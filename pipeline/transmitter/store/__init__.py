"""Store of the transmitter: streams, receivers, keys, revocation commands, and the queues of tokens."""
