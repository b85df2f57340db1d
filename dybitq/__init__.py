"""dybitq: post-training quantization of ONNX networks to 2- to 8-bit packed weights."""

__version__ = "0.1.0"
