"""Number formats: tables of integers, and the arithmetic of scales."""
