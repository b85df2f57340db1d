"""Quantized files read back: what is stored in how many bits, and how it is multiplied."""
