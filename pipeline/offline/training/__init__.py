"""Training of the anomaly model: datasets, feature vectors, export, fitting, evaluation and comparison of models."""
