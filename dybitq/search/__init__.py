"""Bits under budgets: many edges at once."""
