"""Sessions of onnxruntime, the only door to it."""
