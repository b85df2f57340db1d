"""Operators of the integer reference, registered under their ONNX names."""
