"""Plan and statistics to an integer-only network."""
