"""Measured throughput and sizes, and the capacity computed from them."""
