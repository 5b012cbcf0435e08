"""The worker process: start, warm-up, observation and shutdown."""
