"""Simulated honest days: office hours, travel, roll-outs, automation."""
