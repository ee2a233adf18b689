"""What an affine map is, read off by unit impulses; and a convolution spelled with torch's plain operations.

Nothing here is computed with the laws under test: no `Window.size`, no composition, no transposed kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window
from convfold.errors import REASONS, NotFoldable

Map = Callable[[Tensor], Tensor]

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}

#: Of float64 results, relative to the largest number in play.
TOLERANCE = 1e-12


def laid_out(x: Tensor, windows: Sequence[Window]) -> Tensor:
    """(N, C, *space) with zeros inserted and pads applied on every axis: each number put where it belongs."""
    for axis, w in enumerate(windows, start=2):
        n = x.shape[axis]
        length = max((n - 1) * w.upsample + 1 + w.lo + w.hi, 0)
        out = x.new_zeros(*x.shape[:axis], length, *x.shape[axis + 1 :])
        for i in range(n):
            at = i * w.upsample + w.lo
            if 0 <= at < length:
                out.select(axis, at).copy_(x.select(axis, i))
        x = out
    return x


def applied(op: Convolution, x: Tensor) -> Tensor:
    """The definition ``y[n] = b + Σ_t K[t] · x↑u[s·n + d·t − lo]`` by F.convNd on the laid-out signal."""
    outputs = []
    for k, part in zip(op.kernel.chunk(op.groups), x.chunk(op.groups, 1), strict=True):
        if op.dims == 0:
            outputs.append(part @ k.T)
            continue
        signal = laid_out(part, op.windows)
        stride, dilation = [w.stride for w in op.windows], [w.dilation for w in op.windows]
        fits = [
            (n - (1 + w.dilation * (w.taps - 1))) // w.stride + 1 if n >= 1 + w.dilation * (w.taps - 1) else 0
            for n, w in zip(signal.shape[2:], op.windows, strict=True)
        ]
        if 0 in fits:
            outputs.append(x.new_zeros(len(x), len(k), *fits))
        else:
            outputs.append(CONV[op.dims](signal, k, stride=stride, dilation=dilation))
    y = torch.cat(outputs, 1)
    if op.bias is None:
        return y
    bias = op.bias if op.bias.dim() > 1 else op.bias.reshape(-1, *(1,) * op.dims)
    for axis, n in enumerate(y.shape[2:], start=1):
        bias = torch.stack([bias.select(axis, i % bias.shape[axis]) for i in range(n)], axis) if n else bias
    return y + bias if y.numel() else y


def matrix(f: Map, channels: int, space: Sequence[int]) -> tuple[Tensor, Tensor]:
    """``f(x) = A x + c`` read off: the matrix A (outputs, inputs) and the constant c (1, C_out, *space)."""
    inputs = channels * prod(space)
    impulses = torch.eye(inputs, dtype=torch.float64).reshape(inputs, channels, *space)
    constant = f(torch.zeros(1, channels, *space, dtype=torch.float64))
    return (f(impulses) - constant).flatten(1).T, constant


def assert_close(got: Tensor, expected: Tensor, what: str = "", tolerance: float = TOLERANCE) -> None:
    """Equal shapes and dtypes, and equal numbers but for rounding; raises with the place of the worst."""
    if got.shape != expected.shape:
        raise AssertionError(f"{what}: shape {tuple(got.shape)}, expected {tuple(expected.shape)}")
    if got.dtype != expected.dtype:
        raise AssertionError(f"{what}: dtype {got.dtype}, expected {expected.dtype}")
    if not expected.numel():
        return
    error = (got - expected).abs()
    bound = tolerance * max(1.0, float(expected.abs().max()))
    if not bool((error <= bound).all()):
        worst = tuple(int(i) for i in torch.unravel_index(error.argmax(), error.shape))
        wrong = int((error > bound).sum())
        raise AssertionError(
            f"{what}: {wrong} of {error.numel()} numbers differ, worst by {float(error.max()):.3g} at {worst}"
        )


def assert_close_apart(
    got: Tensor, expected: Tensor, space: Sequence[int], what: str = "", width: int = 2, tolerance: float = TOLERANCE
) -> None:
    """The interior, and the ``width`` outermost positions of the axes ``space``: each beside its own largest number."""
    assert_close(got, expected, what, tolerance)
    inside = torch.ones_like(expected, dtype=torch.bool)
    for axis in space:
        place = torch.arange(n := expected.shape[axis])
        keep = (place >= width) & (place < n - width)
        inside &= keep.reshape(-1, *(1,) * (expected.dim() - 1 - axis))
    for where, part in (("interior", inside), ("border", ~inside)):
        largest = expected[part].abs().max() if bool(part.any()) else 0.0
        if largest > 0:
            y, z = (torch.where(part, t / largest, 0.0) for t in (expected, got))
            assert_close(z, y, f"{what}, {where}", tolerance)


def assert_same_map(f: Map, g: Map, channels: int, space: Sequence[int], what: str = "") -> None:
    """Two affine maps are one: same output shape, matrix and constant."""
    (a, c), (b, d) = matrix(f, channels, space), matrix(g, channels, space)
    assert_close(c, d, f"{what} constant at {tuple(space)}")
    assert_close(a, b, f"{what} matrix at {tuple(space)}")


@contextmanager
def refused(*codes: str) -> Iterator[pytest.ExceptionInfo[NotFoldable]]:
    """The block raises :class:`NotFoldable` with one of these codes."""
    assert set(codes) <= set(REASONS)
    with pytest.raises(NotFoldable) as caught:
        yield caught
    if caught.value.code not in codes:
        raise AssertionError(f"refused with {caught.value.code!r}, expected {codes}: {caught.value}")
