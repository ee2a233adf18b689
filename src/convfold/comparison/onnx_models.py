"""ONNX models, as `Runs`: by ONNX Runtime in their own types, operator by operator in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from convfold.comparison.compare import NotSampled
from convfold.comparison.outputs import Output, outputs
from convfold.comparison.rounding import UNITS
from convfold.comparison.trials import Inputs
from convfold.errors import InvalidInput
from convfold.frontends.onnx.running.evaluator import Evaluator, evaluator
from convfold.frontends.onnx.running.rounded import EPS, NoRounding, rounding
from convfold.frontends.onnx.running.runtime import CannotRun, Session
from convfold.frontends.onnx.running.spelled import tensor
from convfold.frontends.onnx.running.widening import wide, widened
from convfold.frontends.onnx.source import inputs, opened

Array = np.ndarray[Any, Any]


class OnnxModel:
    """Run as it is written; a file is read by ONNX Runtime itself.

    Where ONNX Runtime is not installed, or has not all of the first model's operators in its types (there is no
    convolution of float64), the model's own types too are run operator by operator; and so are half precision and
    single mixed, where ONNX Runtime leaves out casts and computes all of it in single.
    """

    otherwise = True

    def __init__(self, model: Any, like: Any = None) -> None:
        """``like``: the first model, where this is the second: both are run by the same means."""
        self.model = Path(model) if isinstance(model, str) else model
        self.notes: list[str] = []
        self.session: Session | None = None
        self._own: Evaluator | None = None
        self._wide: Evaluator | None = None
        read = opened(self.model)
        self.names = [x.name or "" for x in inputs(read)]
        self.coarsest = _coarsest(read)
        if isinstance(like, OnnxModel) and like.session is None:
            return
        if _mixes(read):
            self.notes.append("half precision is mixed with single: run operator by operator")
            return
        try:
            self.session = Session(self.model)
        except ImportError:
            self.notes.append("run operator by operator: onnxruntime is not installed")
        except CannotRun as e:
            if isinstance(like, OnnxModel):
                raise InvalidInput(f"the second model cannot be loaded by ONNX Runtime: {e}") from e
            self.notes.append(f"run operator by operator: {e}")

    def __call__(self, given: Inputs) -> list[Output]:
        feeds = self._feeds(given)
        if self.session is not None:
            return self._read(self.session(feeds))
        if self._own is None:
            self._own = evaluator(opened(self.model), lambda x: x)
        return self._read(_run(self._own, feeds))

    def in_float64(self, given: Inputs) -> list[Output]:
        if self._wide is None:
            self._wide = evaluator(widened(opened(self.model)), wide)
        return self._read(_run(self._wide, {name: wide(x) for name, x in self._feeds(given).items()}))

    def rounded(self, given: Inputs, sample: int) -> list[Output]:
        feeds = self._feeds(given)
        shapes = {name: x.shape for name, x in feeds.items()}
        try:
            model = rounding(opened(self.model), shapes, UNITS[sample], 1000 * sample)
            if self.session is not None:
                return self._read(Session(model)(feeds))
            return self._read(_run(evaluator(model, lambda x: x), feeds))
        except (NoRounding, CannotRun) as e:
            raise NotSampled(str(e)) from e

    def _feeds(self, given: Inputs) -> dict[str, Array]:
        args, kwargs = given
        if len(args) > len(self.names):
            raise InvalidInput(f"the model takes {len(self.names)} inputs, got {len(args)}")
        named = {**dict(zip(self.names, args, strict=False)), **kwargs}
        return {name: _array(x) for name, x in named.items() if x is not None}

    def _read(self, found: list[Any]) -> list[Output]:
        """One output is what the model returns; of several it returns a tuple, whatever they are called."""
        values = tuple(map(_value, found))
        return outputs(values[0] if len(values) == 1 else values, lambda t: t, self.coarsest)


def _run(model: Evaluator, feeds: dict[str, Array]) -> list[Any]:
    try:
        return model.run(None, feeds)
    except Exception as e:  # whatever numpy and torch raise where an operator's inputs do not fit
        text = str(e).strip() or type(e).__name__
        raise CannotRun(text.splitlines()[0]) from e


def _array(x: Any) -> Array:
    if isinstance(x, Tensor):
        if x.dtype is torch.bfloat16:
            import ml_dtypes

            return x.detach().cpu().contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        return x.detach().cpu().contiguous().numpy()
    return np.asarray(x)


def _value(y: Any) -> Any:
    """As something that is compared: tensors, lists of them, text."""
    if isinstance(y, list | tuple):
        return [_value(each) for each in y]
    if isinstance(y, dict):
        return {key: _value(each) for key, each in y.items()}
    if isinstance(y, np.ndarray | np.generic):
        return y.tolist() if y.dtype.kind in "OUS" else tensor(y)
    return y


def _mixes(model: ir.Model) -> bool:
    """Does it cast half precision to single, or back?"""
    half = {ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
    return any(
        node.op_type == "Cast" and not node.attributes["to"].is_ref() and _casts(node, half)
        for graph in model.graphs()
        for node in graph
    )


def _casts(node: ir.Node, half: set[ir.DataType]) -> bool:
    to, x = ir.DataType(node.attributes["to"].as_int()), node.inputs[0]
    single = {ir.DataType.FLOAT, ir.DataType.DOUBLE}
    return to in half or (to in single and x is not None and x.dtype in half)


def _coarsest(model: ir.Model) -> float:
    """One in the last place of the narrowest type that it computes in."""
    found = [0.0]
    for graph in model.graphs():
        values = [*graph.inputs, *graph.initializers.values(), *(y for node in graph for y in node.outputs)]
        found += [EPS[v.dtype] for v in values if v.dtype in EPS]
    return max(found)
