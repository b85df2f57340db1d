"""An integer-only network to an ONNX model, in two flavours."""
