"""What a `Spatial` says of itself, for every call that becomes one; and the taps of a convolution behind a resize."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from convfold.algebra.convolution import Convolution
from convfold.algebra.spatial import Spatial, Spread, always_inside
from convfold.algebra.window import Window
from convfold.layers import ATEN, Call, Step, Value
from convfold.ops import Eager
from convfold.plan import deferred
from convfold.region import Signal
from tests.effort import examples
from tests.folding import noise
from tests.laws.oracle import applied, assert_close

aten = torch.ops.aten
UPSAMPLE: dict[str, dict[int, Any]] = {
    "nearest": {
        1: aten.upsample_nearest1d.vec,
        2: aten.upsample_nearest2d.vec,
        3: aten.upsample_nearest3d.vec,
    },
    "nearest-exact": {
        1: aten._upsample_nearest_exact1d.vec,
        2: aten._upsample_nearest_exact2d.vec,
        3: aten._upsample_nearest_exact3d.vec,
    },
    "linear": {1: aten.upsample_linear1d.vec, 2: aten.upsample_bilinear2d.vec, 3: aten.upsample_trilinear3d.vec},
    "bicubic": {2: aten.upsample_bicubic2d.vec},
    "bilinear antialiased": {2: aten._upsample_bilinear2d_aa.vec},
    "bicubic antialiased": {2: aten._upsample_bicubic2d_aa.vec},
}
MODES = [(mode, dims) for mode, targets in UPSAMPLE.items() for dims in targets]


@dataclass(frozen=True)
class Kind:
    """A call on a tensor, and the axes it acts on."""

    name: str
    target: Any
    shape: tuple[int, ...]
    rest: tuple[Any, ...]
    axes: tuple[int, ...]
    constants: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = self.target(x, *self.rest)
        return y


def value(t: Tensor) -> Value:
    return Value("x", Signal(tuple(t.shape), itemsize=8), tuple(t.shape), t.dtype)


def read(target: Any, x: Tensor, *rest: Any) -> Spatial:
    """What the layer files make of the call."""
    schema = target._schema.arguments
    arguments = {a.name: a.default_value if a.has_default_value() else None for a in schema}
    arguments |= dict(zip(arguments, (value(x), *rest), strict=False))
    step = ATEN[str(target)](Call("call", arguments, value(target(x, *rest)), int))
    assert isinstance(step, Step) and isinstance(step.operation, Spatial)
    return step.operation


def resizes(modes: Sequence[tuple[str, int]] = MODES) -> Iterator[Kind]:
    """By size and by factor, every mode."""
    sizes = {1: ((7,), (11,), [0.6]), 2: ((5, 4), (3, 9), [2.0, 1.5]), 3: ((3, 4, 2), (5, 2, 4), [1.5, 2.0, 0.5])}
    for mode, dims in modes:
        before, after, factors = sizes[dims]
        for aligned in [()] if mode.startswith("nearest") else [(False,), (True,)]:
            for size, scales in ((list(after), None), (None, factors)):
                name = f"{mode} {dims}d {aligned} to {size or scales}"
                rest = (size, *aligned, scales)
                yield Kind(name, UPSAMPLE[mode][dims], (2, 3, *before), rest, tuple(range(2, 2 + dims)))


def pools() -> Iterator[Kind]:
    """kernel, stride, padding, ceil_mode, count_include_pad, divisor_override"""
    pool, maps = aten.avg_pool2d.default, (2, 3, 7, 8)
    for name, rest, constants in (
        ("plain", ([3, 2], [2, 1]), True),
        ("zeros counted", ([3, 2], [2, 1], [1, 0]), False),
        ("zeros not counted", ([3, 2], [2, 1], [1, 0], False, False), True),
        ("over the end", ([2, 3], [2, 3], [0, 0], True), True),
        ("over the end, zeros counted", ([3, 3], [2, 2], [1, 1], True), False),
        ("over the end, zeros not counted", ([3, 3], [2, 2], [1, 1], True, False), True),
        ("by another number", ([3, 2], [2, 1], [0, 0], False, True, 5), False),
        ("by its own number", ([3, 2], [2, 1], [0, 0], False, True, 6), True),
        ("by its own number, padded", ([3, 2], [2, 1], [1, 1], False, False, 6), False),
        ("by its own number, over the end", ([2, 3], [2, 3], [0, 0], True, False, 6), False),
    ):
        yield Kind(f"pool {name}", pool, maps, rest, (2, 3), constants)
    yield Kind("pool 1d", aten.avg_pool1d.default, (2, 3, 7), ([3], [2], [1]), (2,), False)
    yield Kind("pool 3d", aten.avg_pool3d.default, (2, 3, 4, 5, 6), ([2, 3, 2], [1, 2, 2]), (2, 3, 4))
    yield Kind("pool without batch", pool, (3, 7, 8), ([3, 2],), (1, 2))
    yield Kind("adaptive", aten.adaptive_avg_pool2d.default, maps, ([3, 5],), (2, 3))
    yield Kind("adaptive, uniform", aten.adaptive_avg_pool1d.default, (2, 3, 8), ([4],), (2,))
    yield Kind("adaptive to one", aten.adaptive_avg_pool3d.default, (2, 3, 4, 5, 6), ([1, 1, 1],), (2, 3, 4))


def others() -> Iterator[Kind]:
    maps, tokens = (2, 3, 7, 8), (2, 5, 3)
    mean, total, pad = aten.mean.dim, aten.sum.dim_IntList, aten.pad.default
    yield Kind("mean", mean, maps, ([2, 3],), (2, 3))
    yield Kind("mean kept", mean, maps, ([-1, 2], True), (2, 3))
    yield Kind("mean of tokens", mean, tokens, ([-2],), (1,))
    yield Kind("mean of channels", mean, maps, ([1],), (1,))
    yield Kind("mean of axes apart", mean, maps, ([3, 1],), (1, 3))
    yield Kind("sum", total, maps, ([2, 3],), (2, 3), False)
    yield Kind("sum kept", total, tokens, ([1], True), (1,), False)
    yield Kind("zeros", pad, maps, ([1, 2, 0, 1],), (2, 3), False)
    yield Kind("zeros on one axis", pad, maps, ([0, 0, 2, 0],), (2,), False)
    yield Kind("zeros around tokens", pad, tokens, ([0, 0, 1, 2],), (1,), False)
    yield Kind("zeros and a crop", pad, maps, ([-2, 1, 0, -1],), (2, 3), False)
    yield Kind("crop", pad, maps, ([-2, 0, 0, -1],), (2, 3))
    yield Kind("crop of a list of zeros", aten.constant_pad_nd.default, maps, ([-1, -1], 0), (3,))
    for mode in ("reflect", "replicate", "circular"):
        yield Kind(mode, pad, maps, ([1, 2, 3, 0], mode), (2, 3))
    yield Kind("replicate and a crop", pad, maps, ([1, -2, 0, -1], "replicate"), (2, 3))
    yield Kind("reflection", aten.reflection_pad2d.default, maps, ([1, 2, 3, 0],), (2, 3))
    yield Kind("replication", aten.replication_pad1d.default, (2, 3, 5), ([4, 1],), (2,))
    yield Kind("flip", aten.flip.default, maps, ([-1],), (3,))
    yield Kind("flip of tokens", aten.flip.default, tokens, ([1],), (1,))
    yield Kind("roll", aten.roll.default, maps, ([1, -2], [2, 3]), (2, 3))
    yield Kind("roll of everything", aten.roll.default, maps, ([5],), (0, 1, 2, 3))
    yield Kind("expand", aten.expand.default, (2, 3, 1, 1), ([-1, -1, 4, 5],), (2, 3))
    yield Kind("expand of a row", aten.expand.default, (2, 3, 1, 6), ([-1, -1, 4, -1],), (2,))


KINDS = {kind.name: kind for kind in (*resizes(), *pools(), *others())}
assert len(KINDS) == sum(1 for _ in (*resizes(), *pools(), *others())), "two kinds of one name"


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_it_is_the_call(kind: Kind) -> None:
    """On the axes it carries, at any length of them."""
    s = read(kind.target, noise(*kind.shape), *kind.rest)
    longer = tuple(n if i in kind.axes else n + 2 for i, n in enumerate(kind.shape))
    for shape in (kind.shape, longer):
        x = noise(*shape, seed=3)
        assert_close(s(x), kind(x), str(shape))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_constants(kind: Kind) -> None:
    """S(1) = 1 if it says so, and only then."""
    s = read(kind.target, noise(*kind.shape), *kind.rest)
    y = s(torch.ones(kind.shape, dtype=torch.float64))
    assert s.constants == kind.constants
    assert torch.allclose(y, torch.ones_like(y), rtol=0.0, atol=1e-12) == kind.constants


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_axes(kind: Kind) -> None:
    """Positions along an axis it carries may be put in any order, before or behind."""
    x = noise(*kind.shape)
    s, y = read(kind.target, x, *kind.rest), kind(x)
    kept = [i for i in range(x.dim()) if i not in kind.axes]
    behind = kept if y.dim() == x.dim() else list(range(y.dim()))
    assert [s.forward(i) for i in kept] == behind
    assert [s.traced(j) for j in behind] == kept
    assert all(s.forward(i) is None for i in kind.axes)
    assert all(s.traced(j) is None for j in range(y.dim()) if j not in behind)
    for i, j in zip(kept, behind, strict=True):
        order = torch.randperm(x.shape[i])
        assert_close(kind(x.index_select(i, order)), y.index_select(j, order), f"axis {i} → {j}")
    assert s.sizes == (tuple(x.shape[i] for i in kind.axes), tuple(n for j, n in enumerate(y.shape) if j not in behind))


@pytest.mark.parametrize("kind", resizes(MODES), ids=lambda kind: kind.name)
def test_matrices(kind: Kind) -> None:
    """S is the Kronecker product of one matrix an axis."""
    x = noise(*kind.shape)
    s = read(kind.target, x, *kind.rest)
    assert s.matrices is not None
    assert_close(by_axis(s, x), kind(x))


def test_equal_maps_are_equal() -> None:
    """Two calls at one size are one map; another size, or another argument, is another."""
    x = noise(2, 3, 5, 4)
    up = aten.upsample_bilinear2d.vec
    assert read(up, x, [7, 9], False, None) == read(up, noise(2, 8, 5, 4), [7, 9], False, None)
    assert read(up, x, [7, 9], False, None) != read(up, x, [7, 9], True, None)
    assert read(up, x, [7, 9], False, None) != read(up, noise(2, 3, 6, 4), [7, 9], False, None)
    assert read(up, x, None, False, [2.0, 2.0]) != read(up, noise(2, 3, 6, 4), None, False, [2.0, 2.0])


def by_axis(s: Spatial, x: Tensor) -> Tensor:
    """Each matrix applied to its axis."""
    assert s.matrices is not None
    for axis, m in enumerate(s.matrices(), start=2):
        x = (x.movedim(axis, -1) @ m.T).movedim(-1, axis)
    return x


@st.composite
def windows(draw: st.DrawFn) -> Window:
    lo, hi = draw(st.integers(-2, 3)), draw(st.integers(-2, 3))
    taps, stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    return Window(taps, stride, 1, dilation, lo, hi)


@st.composite
def resized(draw: st.DrawFn) -> tuple[Spatial, tuple[int, ...], tuple[int, ...]]:
    """A resize by size or by factor, up or down an axis at a time; space before and behind it."""
    mode, dims = draw(st.sampled_from(MODES))
    narrow = 2 if mode.endswith("antialiased") else 1  # torch's own result is wrong where it resizes to one column
    before = tuple(draw(st.integers(narrow, 7 if dims < 3 else 4)) for _ in range(dims))
    aligned = () if mode.startswith("nearest") else (draw(st.booleans()),)
    size, factors = None, None
    if draw(st.booleans()):
        size = [draw(st.integers(narrow, 9 if dims < 3 else 5)) for _ in range(dims)]
    else:
        factors = [draw(st.sampled_from([0.5, 0.7, 1.0, 1.5, 2.0, 2.25])) for _ in range(dims)]
        assume(all(int(n * f) >= narrow for n, f in zip(before, factors, strict=True)))
    target, x = UPSAMPLE[mode][dims], noise(1, 1, *before)
    try:
        s = read(target, x, size, *aligned, factors)
    except AssertionError:  # nothing changes: no resize at all
        assume(False)
    return s, before, tuple(s(x).shape[2:])


@given(resized())
@settings(max_examples=examples(150))
def test_matrices_of_any_resize(drawn: tuple[Spatial, tuple[int, ...], tuple[int, ...]]) -> None:
    s, before, _ = drawn
    x = noise(2, 3, *before)
    assert_close(by_axis(s, x), s(x), f"{s} on {before}")


@given(resized(), st.data(), st.sampled_from([1, 2]), st.booleans())
@settings(max_examples=examples(200))
def test_spread(
    drawn: tuple[Spatial, tuple[int, ...], tuple[int, ...]], data: st.DataObject, groups: int, biased: bool
) -> None:
    """B(S x) = spread(P x): the taps before the resize, where they are brought together again."""
    s, before, between = drawn
    reading = tuple(data.draw(windows()) for _ in before)
    after = tuple(w.size(n) for w, n in zip(reading, between, strict=True))
    assume(0 not in after)
    inside = [always_inside(w, n, m) for w, n, m in zip(reading, between, after, strict=True)]
    bias = noise(4, seed=5) if biased and None not in inside else None
    b = Convolution(noise(4, 6 // groups, *(w.taps for w in reading)), bias, groups, reading)
    taps = deferred.taps(deferred.Given(b.geometry, b), tuple(t or 0 for t in inside))
    spread = Spread(s, reading, before, after)
    x = noise(2, 6, *before, seed=7)
    expected = applied(b, s(x))
    p = taps.value.lifted(len(before))(x)
    got = spread.lower(Eager(p), [p], expected.shape)
    assert_close(got, expected, f"{s} on {before}, {reading}")
    assert taps.geometry == taps.value.geometry
    assert [tuple(m.shape) for m in spread.matrices] == [
        (m, w.taps * n) for m, w, n in zip(after, reading, before, strict=True)
    ]


@given(windows(), st.integers(1, 9))
def test_a_tap_that_never_reads_outside(w: Window, n: int) -> None:
    m = w.size(n)
    assume(m > 0)
    inside = [all(0 <= w.stride * k + w.dilation * t - w.lo < n for k in range(m)) for t in range(w.taps)]
    found = always_inside(w, n, m)
    assert found is None if not any(inside) else found is not None and inside[found]


def test_macs_of_a_spread_are_those_of_its_products() -> None:
    """The last axis first: 64 channels of 24 × 24, then of 24 × 64."""
    w = Window(3, lo=1, hi=1)
    s = read(aten.upsample_bilinear2d.vec, noise(1, 1, 8, 8), [64, 64], False, None)
    assert Spread(s, (w, w), (8, 8), (64, 64)).macs(64) == 64 * (24 * 24 * 64 + 24 * 64 * 64)
