"""Rewrites of a float network: factors between layers, divided features, probes."""
