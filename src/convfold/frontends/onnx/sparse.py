"""Tensors stored as what is not zero in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir


class Sparse(ir.LazyTensor):
    """Dense where it is asked for, and written as it was."""

    def __init__(self, proto: onnx.SparseTensorProto) -> None:
        dtype, shape = ir.DataType(proto.values.data_type), ir.Shape(proto.dims)
        super().__init__(lambda: ir.tensor(dense(proto), dtype), dtype=dtype, shape=shape, name=proto.values.name)
        self.proto = proto


def dense(proto: onnx.SparseTensorProto) -> np.ndarray[Any, Any]:
    """Zeros, but for the values at their indices: of each axis, or into all elements in a row."""
    values = ir.serde.deserialize_tensor(proto.values).numpy()
    indices = onnx.numpy_helper.to_array(proto.indices)
    out = np.zeros(tuple(proto.dims), values.dtype)
    if indices.ndim == 2:
        out[tuple(indices.T)] = values
    else:
        out.reshape(-1)[indices] = values
    return out
