"""Detectors of what is unlike normal traffic: ways of scoring (a table), calibration, labels, explanation.

Each way is one file and one row of :data:`models.detectors.methods.METHODS`. scikit-learn fits where it can;
scoring is ours: flat arrays, whole chunks, and an answer for a row that does not depend on its neighbours.
"""
