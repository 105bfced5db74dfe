"""Models as ONNX graphs: export, checks, quantisation, and prediction without PyTorch's kernels."""
