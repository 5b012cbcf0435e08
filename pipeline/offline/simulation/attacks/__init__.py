"""Simulated attacks, one module per technique, each labelled with its ATT&CK identifier."""
