"""The HTTP side of the transmitter: discovery, tokens, streams, polling, acknowledgements."""
