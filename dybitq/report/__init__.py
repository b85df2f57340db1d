"""Reports: records as text and JSON."""
