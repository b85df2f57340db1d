"""Readers, transforms and metrics."""
