"""Every setting of the worker and the transmitter, with its default, its range and how it is loaded."""
