"""Calls that pass their input on: dropout in eval mode, clones, casts to the same type."""

from __future__ import annotations

from torch import nn

from convfold.algebra.convolution import Convolution
from convfold.errors import NotFoldable
from convfold.layers.known import module
from convfold.layers.spelling import Call, Step, Value, aten, known_channels


@aten(
    "dropout.default",
    "feature_dropout.default",
    "alpha_dropout.default",
    "feature_alpha_dropout.default",
)
def read_dropout(call: Call) -> Value:
    if call["train"] and call["p"] != 0:
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


@module(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
def of_module(m: nn.Module, channels: int | None = None, dims: int | None = None) -> Convolution:
    if m.training and not isinstance(m, nn.Identity):
        raise NotFoldable("training-mode", f"{type(m).__name__} is active; call eval() first")
    return Convolution.identity(known_channels(m, channels), dims or 0)
