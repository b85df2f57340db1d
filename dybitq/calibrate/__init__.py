"""Data to statistics."""
