"""ONNX Runtime: the engine of serving graphs."""
