"""Reading of quantized files: stored tensors and their bits, and the widths of products."""
