"""The worker's metrics: one table that names each of them, and the Prometheus registry made from it."""
