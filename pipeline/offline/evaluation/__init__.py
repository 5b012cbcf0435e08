"""Evaluation of decisions: simulated worlds are replayed, and the results are compared with the ground truth.

`python -m pipeline.offline.evaluation` writes models/EVALUATION.md; with ``--fit`` it learns the weights of evidence.
"""
