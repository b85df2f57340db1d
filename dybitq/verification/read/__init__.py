"""A stored model read back as an integer-only network."""
