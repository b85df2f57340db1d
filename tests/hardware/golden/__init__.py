"""Slow, literal simulators that the closed forms are proved against."""
