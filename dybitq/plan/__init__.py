"""Recipes and plans: which edge gets which encoding."""
