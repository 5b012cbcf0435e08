"""Anomaly detectors, which learn normal traffic: methods of scoring (a table), calibration, labels, explanation, drift.

Each method is one file and one row of :data:`models.detectors.methods.METHODS`. scikit-learn fits where it can. Scoring
is done here, over whole chunks in flat arrays, so that the score of a row does not depend on the rows beside it.
"""
