"""@ and + obey the laws their symbols promise, as maps, and in the normal form where it is unique."""

from __future__ import annotations

import torch
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window
from convfold.errors import NotFoldable
from tests.effort import examples
from tests.laws.generate import Drawn, Layer, any_layer, conv, conv_transpose, legal_spaces, numbers, spaces
from tests.laws.oracle import assert_close, assert_same_map
from tests.laws.test_series import SPACES


def assert_same_value(a: Convolution, b: Convolution) -> None:
    """One kernel, one bias, one geometry."""
    assert a.geometry == b.geometry
    assert_close(a.kernel, b.kernel, "kernel")
    if a.bias is not None and b.bias is not None:
        assert_close(a.bias, b.bias, "bias")


@given(st.data(), any_layer())
def test_the_identity_is_neutral(data: st.DataObject, layer: Layer) -> None:
    op = layer.value
    for dims in {0, op.dims}:
        left, right = (
            Convolution.identity(op.c_out, dims, op.kernel),
            Convolution.identity(op.c_in, dims, op.kernel),
        )
        space = data.draw(spaces(op.dims))
        assert_same_map(left @ op, op, op.c_in, space, f"1 @ {op}")
        assert_same_map(op @ right, op, op.c_in, space, f"{op} @ 1")


@st.composite
def chains(draw: st.DrawFn) -> list[Layer]:
    """Three layers that seldom meet a border: unpadded after the first."""
    c = Drawn(draw)
    dims = c.pick([1, 2])
    first = c.pick([conv, conv_transpose])(c, dims)
    second = c.pick([conv, conv, conv_transpose])(c, dims, first.value.c_out, padding="none", stride=2)
    return [first, second, conv(c, dims, second.value.c_out, padding="none", stride=2)]


@given(chains())
@settings(max_examples=examples(150))
def test_series_is_associative(chain: list[Layer]) -> None:
    a, b, c = (layer.value for layer in chain)
    try:
        left, right = (c @ b) @ a, c @ (b @ a)
    except NotFoldable as refusal:
        event(f"refused: {refusal.code}")
        return
    event("both legal")
    legal = legal_spaces(chain, SPACES[a.dims])
    for space in legal:
        assert_same_map(left, right, a.c_in, space, " then ".join(map(repr, chain)))


@given(chains())
def test_series_is_associative_at_known_sizes(chain: list[Layer]) -> None:
    a, b, c = (layer.value for layer in chain)
    for space in legal_spaces(chain, SPACES[a.dims]):
        try:
            left = c.after(b, a.geometry.size(space)).after(a, space)
            right = c.after(b.after(a, space), space)
        except NotFoldable as refusal:
            event(f"refused: {refusal.code}")
            continue
        event("both legal")
        assert_same_map(left, right, a.c_in, space, " then ".join(map(repr, chain)))


@given(st.data(), st.sampled_from([1, 2, 3]), st.integers(1, 4))
def test_depthwise_filters_commute(data: st.DataObject, dims: int, channels: int) -> None:
    """Unpadded filters of one channel each: A∘B = B∘A, dilated or not."""
    c = Drawn(data.draw)
    a, b = (
        Convolution(
            numbers(c, channels, 1, *(w.taps for w in windows)),
            numbers(c, channels) if dims > 1 else None,
            channels,
            tuple(windows),
        )
        for windows in ([Window(c.integer(1, 4), dilation=c.integer(1, 3)) for _ in range(dims)] for _ in range(2))
    )
    linear_a, linear_b = (Convolution(v.kernel, None, v.groups, v.windows) for v in (a, b))
    assert_same_value(linear_a @ linear_b, linear_b @ linear_a)


@given(st.data(), st.sampled_from([1, 2]))
def test_strided_filters_commute_with_dilated_ones(data: st.DataObject, dims: int) -> None:
    """The noble identity: filter dilated by s, then keep every s-th = keep every s-th, then filter."""
    c = Drawn(data.draw)
    s = c.integer(2, 3)
    taps = [c.integer(1, 4) for _ in range(dims)]
    kernel = numbers(c, 2, 3, *taps)
    dilated = Convolution(kernel, None, 1, tuple(Window(t, dilation=s) for t in taps))
    plain = Convolution(kernel, None, 1, tuple(Window(t) for t in taps))
    keep = (Window(1, stride=s),) * dims
    before = Convolution(torch.ones(3, 1, *(1,) * dims, dtype=torch.float64), None, 3, keep)
    after = Convolution(torch.ones(2, 1, *(1,) * dims, dtype=torch.float64), None, 2, keep)
    assert_same_map(after @ dilated, plain @ before, 3, (13, 11)[:dims])


@given(st.data(), any_layer())
def test_series_distributes_over_sums(data: st.DataObject, layer: Layer) -> None:
    """B∘(A + A') = B∘A + B∘A' for linear B, and (B + B')∘A = B∘A + B'∘A."""
    c, a = Drawn(data.draw), layer.value
    other = Convolution(numbers(c, *a.kernel.shape), numbers(c, a.c_out), a.groups, a.windows)
    windows = tuple(Window(c.integer(1, 3), c.integer(1, 2)) for _ in range(a.dims))
    b, b2 = (Convolution(numbers(c, 2, a.c_out, *(w.taps for w in windows)), None, 1, windows) for _ in range(2))
    among = [s for s in SPACES[a.dims] if 0 not in b.geometry.size(a.geometry.size(s)) and legal_spaces([layer], [s])]
    assume(among)
    for space in among:
        sizes = a.geometry.size(space)
        try:
            one, two, three = (o.after(i, space) for o, i in ((b, a), (b, other), (b2, a)))
        except NotFoldable:
            continue
        event("folded")
        assert_same_map(b.after(a.plus(other, space), space), one.plus(two, space).__call__, a.c_in, space)
        assert_same_map(b.plus(b2, sizes).after(a, space), one.plus(three, space).__call__, a.c_in, space)


@given(st.data(), any_layer())
def test_a_scale_passes_through(data: st.DataObject, layer: Layer) -> None:
    a = layer.value
    s = numbers(Drawn(data.draw), a.c_out)
    space = data.draw(spaces(a.dims))
    assert_same_map(a * s, Convolution(s[:, None], None, a.c_out) @ a, a.c_in, space, repr(layer))
