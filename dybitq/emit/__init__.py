"""Graph, plan and fitted arrays to a quantized ONNX model."""
