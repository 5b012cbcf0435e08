"""Enrichment processors: what is known about a device, principal or network, sent to every session it concerns."""
