"""A model in another opset, by ``onnx``'s own converter."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
from onnx import version_converter

from convfold.errors import InvalidInput
from convfold.frontends.onnx.files import load


def lifted(path: Path, opset: int) -> ir.Model:
    """
    Raises:
        InvalidInput: the converter does not know an operator on the way there.
    """
    model = load(path)
    own = model.opset_imports.get("", 0)
    if own == opset:
        return model
    latest = onnx.defs.onnx_opset_version()
    if opset > latest:
        raise InvalidInput(f"--opset {opset}: onnx {onnx.__version__} knows them up to {latest}")
    if opset < own:
        raise InvalidInput(f"{path}: is in opset {own}; it can be lifted, not lowered to {opset}")
    try:
        converted = version_converter.convert_version(ir.serde.serialize_model(model), opset)
    except (RuntimeError, onnx.onnx_cpp2py_export.version_converter.ConvertError) as e:
        raise InvalidInput(f"{path}: cannot be lifted from opset {own} to {opset}: {str(e).splitlines()[0]}") from e
    return ir.serde.deserialize_model(converted)
