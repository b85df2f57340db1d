"""Machines, timing and energy models."""
