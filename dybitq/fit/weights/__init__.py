"""Weights of one layer: scales, codes and corrected biases."""
