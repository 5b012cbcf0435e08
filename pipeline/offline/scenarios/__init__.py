"""Scenarios: written attack stories with expected decisions, their playback, and the demo that shows them."""
