"""Scenarios: short written attacks with expected decisions, their playback, and the demo that narrates them."""
