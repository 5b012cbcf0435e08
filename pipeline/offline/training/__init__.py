"""Model training: datasets, feature vectors, quality reports and export of a trained model."""
