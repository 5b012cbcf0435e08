"""HTTP API of the transmitter: discovery, access tokens, streams, polling, acknowledgements."""
