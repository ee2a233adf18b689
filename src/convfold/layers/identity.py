"""Calls that pass their input on: dropout in eval mode, clones, casts to the same type; ONNX Identity, Dropout, Cast,
CastLike."""

from __future__ import annotations

import torch
from torch import nn

from convfold.algebra.convolution import Convolution
from convfold.errors import NotFoldable
from convfold.layers.examples import (
    Draw,
    Example,
    ModuleExample,
    OnnxExample,
    constant,
    example,
    flag,
    module_example,
    onnx_example,
    opset,
    shape,
    space,
)
from convfold.layers.known import module
from convfold.layers.spelling import Call, Step, Value, aten, known_channels, onnx


@aten(
    "dropout.default",
    "feature_dropout.default",
    "alpha_dropout.default",
    "feature_alpha_dropout.default",
)
def read_dropout(call: Call) -> Value:
    if call["train"] is not False and call["p"] != 0:  # native_dropout drops where it is not told, too
        raise NotFoldable("training-mode", "dropout is active")
    return call["input"]  # type: ignore[no-any-return]


@aten("native_dropout.default")
def read_native_dropout(call: Call) -> list[Step | None]:
    """What is exported of a model in training mode; returns its mask too."""
    read_dropout(call)
    return []


@aten(
    "clone.default",
    "alias.default",
    "detach.default",
    "contiguous.default",
    "_to_copy.default",
    "to.dtype",
    "lift_fresh_copy.default",
)
def read_copy(call: Call) -> Value:
    x = call["self"]
    if x.dtype != call.out.dtype or call["device"] is not None:
        raise NotFoldable("not-affine", "a cast to another type or device")
    return x  # type: ignore[no-any-return]


@onnx("Identity", "Cast", "CastLike")
def read_onnx(call: Call) -> Value:
    if call.first.dtype != call.out.dtype:
        raise NotFoldable("not-affine", "a cast to another type")
    return call.first  # type: ignore[no-any-return]


@onnx("Dropout")
def read_onnx_dropout(call: Call) -> Value:
    """Opsets 7 to 11 know no training; from 12 on an input says it, which is not given where it is false."""
    mode, ratio = call["training_mode"], call["ratio"]
    drops = not isinstance(ratio, Value) or not ratio.constant or float(ratio.tensor()) != 0
    if mode is not None and drops and (not mode.constant or bool(mode.tensor())):
        raise NotFoldable("training-mode", "dropout is active, or may be")
    return call["data"]  # type: ignore[no-any-return]


@module(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
def of_module(m: nn.Module, channels: int | None = None, dims: int | None = None) -> Convolution:
    if m.training and not isinstance(m, nn.Identity):
        raise NotFoldable("training-mode", f"{type(m).__name__} is active; call eval() first")
    return Convolution.identity(known_channels(m, channels), dims or 0)


@example("dropout.default", "feature_dropout.default", "alpha_dropout.default", "feature_alpha_dropout.default")
def drawn_dropout(draw: Draw, spelling: str) -> Example:
    p, train = draw.pick((0.0, 0.4)), flag(draw)
    return Example((draw.signal(*shape(draw, 2)), p, train), refused="training-mode" if train and p else None)


@example("native_dropout.default")
def drawn_native_dropout(draw: Draw, spelling: str) -> Example:
    p, train = draw.pick((0.0, 0.4)), draw.pick((False, True, None))
    return Example((draw.signal(*shape(draw)), p, train), refused="training-mode" if train is not False and p else None)


@example("clone.default", "alias.default", "detach.default", "contiguous.default", "lift_fresh_copy.default")
def drawn_copy(draw: Draw, spelling: str) -> Example:
    x = draw.signal(*shape(draw))
    formats = (torch.contiguous_format, *((torch.channels_last,) if x.dim() == 4 else ()))
    takes = spelling.startswith(("clone", "contiguous"))
    return Example((x,), {"memory_format": draw.pick(formats)} if takes and flag(draw) else {})


@example("_to_copy.default", "to.dtype")
def drawn_cast(draw: Draw, spelling: str) -> Example:
    x, dtype = draw.signal(*shape(draw)), draw.pick((torch.float64, torch.float32))
    refused = "not-affine" if dtype != x.dtype else None
    if spelling.startswith("to."):
        return Example((x, dtype, False, flag(draw)), refused=refused)
    device = draw.pick((None, x.device))  # a call that names one is left to say where it computes
    return Example((x,), {"dtype": dtype, "device": device}, "not-affine" if device else refused)


@module_example(
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout
)
def drawn_module(draw: Draw, cls: type[nn.Module]) -> ModuleExample:
    training = flag(draw)
    known = {nn.Dropout1d: 1, nn.Dropout2d: 2, nn.Dropout3d: 3}
    dims = known[cls] if cls in known else draw.integer(0, 3)
    x = draw.signal(draw.integer(1, 2), draw.integer(1, 3), *space(draw, dims))
    refused = "training-mode" if training and cls is not nn.Identity else None
    return ModuleExample(cls().train(training), x, refused)


@onnx_example("Identity", "Cast", "CastLike")
def drawn_onnx(draw: Draw, spelling: str) -> OnnxExample:
    """Signals are of type 1, FLOAT; 11 is DOUBLE."""
    version = opset(draw, 15 if spelling == "CastLike" else 7)
    x = draw.signal(*shape(draw))
    if spelling == "Identity":
        return OnnxExample((x,), opset=version)
    if spelling == "CastLike":
        return OnnxExample((x, draw.weight(1)), opset=version)
    to = draw.pick((1, 11))
    return OnnxExample((x,), {"to": to}, "not-affine" if to != 1 else None, opset=version)


@onnx_example("Dropout")
def drawn_onnx_dropout(draw: Draw, spelling: str) -> OnnxExample:
    version, x = opset(draw), draw.signal(*shape(draw))
    outputs = draw.pick((1, 2))
    if version < 12:
        return OnnxExample((x,), {"ratio": 0.3}, opset=version, outputs=outputs)
    ratio, training = draw.pick((None, 0.3, 0.0)), draw.pick((None, False, True))
    refused = "training-mode" if training and ratio != 0 else None
    given = [None if n is None else constant(torch.tensor(n)) for n in (ratio, training)]
    return OnnxExample((x, *given), {}, refused, version, outputs)
