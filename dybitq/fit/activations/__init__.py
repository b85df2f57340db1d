"""Activation quantizers: ranges, scales and re-codings of one tensor."""
