"""Delivery: pushes tokens to receivers, decides on retries, and bounds what a stream holds."""
