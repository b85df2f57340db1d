"""Reading, normalising and writing of ONNX models, and the survey of their layers."""
