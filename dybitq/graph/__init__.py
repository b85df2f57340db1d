"""ONNX in, normalising passes, survey of layers and edges, ONNX out."""
