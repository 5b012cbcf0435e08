"""How well sessions are judged: simulated worlds are played through the stages and held against the truth.

`python -m pipeline.offline.evaluation` writes models/EVALUATION.md; `fitting.py` learns the weights of the evidence.
"""
