"""Tensors of ONNX and of torch, one as the other, without copying."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.tensor_adapters import TorchTensor
from torch import Tensor

#: Types of numbers that convfold computes with.
DTYPES = {
    ir.DataType.FLOAT: torch.float32,
    ir.DataType.DOUBLE: torch.float64,
    ir.DataType.FLOAT16: torch.float16,
    ir.DataType.BFLOAT16: torch.bfloat16,
}


#: Larger tensors have memory of their own, or stay where they are.
_LARGE = 1 << 20


def from_torch(t: Tensor) -> TorchTensor:
    """Large ones by a copy that is mapped: kept between what is computed and freed, they would leave holes."""
    t = t.detach()
    if t.nbytes < _LARGE:
        return TorchTensor(t.contiguous())
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    own = torch.frombuffer(mmap.mmap(-1, t.nbytes, **private), dtype=t.dtype).view(t.shape)
    return TorchTensor(own.copy_(t))


def to_torch(tensor: Any) -> Tensor:
    """An ONNX tensor, or an array; memory that may not be written to is read only."""
    array = tensor if isinstance(tensor, np.ndarray) else tensor.numpy()
    if array.dtype.kind == "V" and array.dtype.name == "bfloat16":  # to ask for a name takes longer than all else here
        return _shared(array.view(np.int16)).view(torch.bfloat16)
    return _shared(array)


def _shared(array: np.ndarray[Any, Any]) -> Tensor:
    if not array.flags.writeable:
        return torch.from_numpy(np.array(array, order="C")) if array.nbytes <= _LARGE else _read_only(array)
    return torch.from_numpy(np.asarray(array, order="C"))  # `ascontiguousarray` gives a number an axis


def _read_only(array: np.ndarray[Any, Any]) -> Tensor:
    """Large weights stay in the file they are mapped from; nothing here writes to them."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(array, order="C"))
