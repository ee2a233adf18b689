"""Running an ONNX model for comparison: in its own types, and in float64."""
