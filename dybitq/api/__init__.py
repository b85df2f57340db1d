"""The verbs as functions."""
