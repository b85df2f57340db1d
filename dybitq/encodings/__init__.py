"""Number formats as tables of integers, their codes, and the dyadic scales between them (numpy only)."""
