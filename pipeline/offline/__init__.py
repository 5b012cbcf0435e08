"""Replay, scenarios, simulation, training, evaluation, generated pages: what a running process never needs.

Only commands may import it.
"""
