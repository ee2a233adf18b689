"""Every operator of the standard domain of ONNX that no layer file reads, and why."""

LEFT: dict[str, str] = {}
