"""Settings of the worker and the transmitter: every one with its default and range, and their loading."""
