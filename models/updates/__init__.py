"""How an event changes a session's row: the compiled fold over a chunk, split by what the event is about."""
