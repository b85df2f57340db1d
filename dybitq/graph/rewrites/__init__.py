"""Rewrites of a float network that keep its function: factors between layers, probes."""
