"""Simulated attacks: `catalogue` is the table, the other modules have the functions of one subject each."""
