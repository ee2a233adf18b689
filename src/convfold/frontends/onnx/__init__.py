"""ONNX models through onnx_ir."""
