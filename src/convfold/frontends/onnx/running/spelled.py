"""Operators of the standard's own evaluator, computed by torch: fast, in any type, as ONNX Runtime understands them.

The evaluator that comes with ONNX is written to be read. Its convolutions are slow, and some of its operators are not
what runtimes compute: batch norms of older opsets take the batch's own statistics, poolings miscount at the ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from onnx.reference.op_run import OpRun
from torch import Tensor

#: Takes the call's opset, its inputs and its attributes by name.
Computed = Callable[..., Any]


def operator(name: str) -> Callable[[Computed], type[OpRun]]:
    """An operator of the evaluator that is computed by a function of torch's tensors."""

    def made(compute: Computed) -> type[OpRun]:
        def run(self: Any, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
            version = self.run_params["opsets"].get("", 1)
            xs = [None if x is None else tensor(x) for x in inputs]
            wanted = sum(bool(y) for y in self.onnx_node.output)
            written = {a.name for a in self.onnx_node.attribute}  # the others are defaults, of the newest opset
            given = {name: value for name, value in attributes.items() if name in written}
            found = compute(version, *xs, outputs=wanted, **given)
            return tuple(array(y) for y in (found if isinstance(found, tuple) else (found,)))

        return type(name, (OpRun,), {"op_domain": "", "_run": run})

    return made


def tensor(x: Any) -> Tensor:
    """Without copying where that is possible: of contiguous memory that may be written to."""
    x = np.asarray(x)
    if x.dtype.name == "bfloat16":
        return tensor(x.view(np.int16)).view(torch.bfloat16)
    if x.dtype in (np.uint16, np.uint32):
        x = x.astype(np.int64)
    if x.dtype == np.uint64:
        x = x.view(np.int64)
    if not x.flags.c_contiguous or not x.flags.writeable or min(x.strides, default=0) < 0:  # one number may be both
        x = x.copy()
    return torch.from_numpy(x)


def array(y: Tensor) -> np.ndarray[Any, Any]:
    if y.dtype is torch.bfloat16:
        import ml_dtypes

        return y.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return y.numpy()


def unsupported(what: str) -> NotImplementedError:
    return NotImplementedError(f"{what} is not computed in float64")
