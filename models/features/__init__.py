"""The features: one table that names each with its range and scale, and their vectors computed from session state."""
