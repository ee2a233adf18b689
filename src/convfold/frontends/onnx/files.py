"""ONNX files, read without running or following anything: weights beside the file stay inside its folder."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from convfold.errors import InvalidInput


def load(path: Path) -> ir.Model:
    """
    Raises:
        InvalidInput: there is no such file, it is no model, or its weights lie elsewhere.
    """
    try:
        proto = onnx.load(path, load_external_data=False)
    except OSError as e:
        raise InvalidInput(f"{path}: cannot be read: {e.strerror or e}") from e
    except (DecodeError, ValueError) as e:
        raise InvalidInput(f"{path}: is no ONNX model, or damaged") from e
    model = ir.serde.deserialize_model(proto)
    ir.external_data.set_base_dir(model.graph, os.path.dirname(path))
    return model
