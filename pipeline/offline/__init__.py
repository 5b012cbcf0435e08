"""Offline work, which a running worker or transmitter never needs; only commands may import it.

Replay, scenarios, simulation, training, evaluation, and the generated pages.
"""
