"""Data specs, readers, transforms and metrics."""
