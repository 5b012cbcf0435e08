"""What the transmitter remembers: streams, receivers, keys, commands, and the tokens that wait."""
