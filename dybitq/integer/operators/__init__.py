"""Operators of integer-only arithmetic, one a file; docs/contributing.md says what such a file holds."""
