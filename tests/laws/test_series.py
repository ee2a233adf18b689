"""B @ A computes B(A(x)), on interior and border, or is refused with the reason."""

from __future__ import annotations

from math import gcd

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from convfold.algebra import geometry
from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window
from convfold.errors import REASONS, NotFoldable
from tests.effort import examples
from tests.laws.generate import (
    Drawn,
    Layer,
    any_layer,
    conv,
    conv_transpose,
    convolution,
    in_turn,
    legal_spaces,
    numbers,
    spaces,
)
from tests.laws.generate import layers as layer_of
from tests.laws.oracle import assert_close, assert_same_map, refused

#: Small, odd, even, non-square.
SPACES = {
    0: [()],
    1: [(n,) for n in (1, 2, 3, 4, 5, 7, 10, 13)],
    2: [(1, 2), (3, 1), (2, 3), (4, 3), (3, 5), (6, 7)],
    3: [(1, 2, 3), (3, 2, 1), (3, 4, 2), (4, 3, 5)],
}


def assert_series(folded: Convolution, chain: list[Layer], among: list[tuple[int, ...]]) -> None:
    """The folded value equals the chain at every legal size, in border and interior."""
    legal = legal_spaces(chain, among)
    assume(legal)
    for space in legal:
        assert_same_map(folded, in_turn(chain), folded.c_in, space, " then ".join(map(repr, chain)))


@st.composite
def pairs(draw: st.DrawFn) -> list[Layer]:
    """Two layers whose channels fit; seldom refused for the border."""
    c = Drawn(draw)
    dims = c.pick([1, 2, 3])
    kind = c.pick(["second unpadded", "first full", "first one tap", "from transposed", "any"])
    if kind == "second unpadded":
        first = c.pick([conv, conv_transpose, convolution])(c, dims)
        return [first, conv(c, dims, first.value.c_out, padding="none")]
    if kind == "first full":
        first = conv(c, dims, padding="full", biased=False)
    elif kind == "first one tap":
        first = conv(c, dims, padding="none", biased=False, pointwise=True)
    elif kind == "from transposed":
        first = conv_transpose(c, dims, padding="none", biased=False)
    else:
        first = c.pick([conv, conv_transpose, convolution])(c, dims)
    return [first, c.pick([conv, conv_transpose, convolution])(c, dims, first.value.c_out)]


@given(pairs())
@settings(max_examples=examples(250))
def test_at_any_size(pair: list[Layer]) -> None:
    inner, outer = pair
    try:
        folded = outer.value @ inner.value
    except NotFoldable as refusal:
        assert refusal.code in REASONS
        event(f"refused: {refusal.code}")
        return
    event("folded")
    assert_series(folded, pair, SPACES[folded.dims])


@given(st.data(), pairs())
@settings(max_examples=examples(250))
def test_at_known_sizes(data: st.DataObject, pair: list[Layer]) -> None:
    inner, outer = pair
    space = data.draw(spaces(inner.value.dims))
    assume(legal_spaces(pair, [space]))
    try:
        folded = outer.value.after(inner.value, space)
    except NotFoldable as refusal:
        event(f"refused: {refusal.code}")
        assert refusal.code in {"ghost-depends-on-data", "ghost-is-constant", "stride-upsample"}
        return
    event("folded")
    assert_series(folded, pair, [space])


@given(st.data(), pairs())
def test_sizes_may_be_known_on_some_axes_only(data: st.DataObject, pair: list[Layer]) -> None:
    inner, outer = pair
    space = data.draw(spaces(inner.value.dims))
    free = data.draw(st.integers(0, inner.value.dims - 1))
    known = [None if i == free else n for i, n in enumerate(space)]
    try:
        folded = outer.value.after(inner.value, known)
    except NotFoldable:
        return
    among = [(*space[:free], n, *space[free + 1 :]) for n in (1, 2, 3, 5, 6)]
    assert_series(folded, pair, among)


@given(pairs())
def test_what_folds_at_any_size_folds_at_each(pair: list[Layer]) -> None:
    inner, outer = (layer.value for layer in pair)
    try:
        outer @ inner
    except NotFoldable:
        assume(False)
    for space in legal_spaces(pair, SPACES[inner.dims]):
        assert_series(outer.after(inner, space), pair, [space])


@given(pairs())
def test_geometry_alone_foretells_the_result(pair: list[Layer]) -> None:
    inner, outer = (layer.value for layer in pair)
    try:
        folded = outer @ inner
    except NotFoldable as refusal:
        with refused(refusal.code):
            geometry.series(outer.geometry, inner.geometry)
        return
    assert folded.geometry == geometry.series(outer.geometry, inner.geometry)
    assert folded.groups == gcd(outer.groups, inner.groups)
    assert tuple(folded.kernel.shape) == folded.geometry.kernel_shape
    for w in folded.windows:
        assert gcd(w.stride, w.upsample) == 1


@given(st.data(), any_layer())
def test_a_pointwise_layer_follows_anything(data: st.DataObject, layer: Layer) -> None:
    pointwise = data.draw(layer_of(convolution, 0, layer.value.c_out))
    folded = pointwise.value @ layer.value
    lifted = pointwise.value.lifted(layer.value.dims)
    among = legal_spaces([layer], SPACES[layer.value.dims])
    assume(among)
    for space in among:
        assert_same_map(folded, lambda x: lifted(layer.torch(x)), folded.c_in, space, repr(layer))


@given(st.data(), st.sampled_from([1, 2, 3]), st.booleans())
def test_a_scale_on_a_grouped_convolution_keeps_its_groups(data: st.DataObject, dims: int, after: bool) -> None:
    c = Drawn(data.draw)
    layer = c.pick([conv, conv_transpose])(c, dims, padding="none")
    width = layer.value.c_out if after else layer.value.c_in
    scale, shift = numbers(c, width), numbers(c, width)
    if not after and any(w.lo or w.hi for w in layer.value.windows):
        shift = torch.zeros_like(shift)  # it would stop at the border: `ghost-is-constant`
    norm = Convolution(scale[:, None], shift if shift.any() else None, width)
    shape = (-1, *(1,) * dims)

    def normed(x: torch.Tensor) -> torch.Tensor:
        return x * scale.reshape(shape) + shift.reshape(shape)

    folded = norm @ layer.value if after else layer.value @ norm
    assert folded.groups == layer.value.groups
    assert folded.windows == layer.value.windows
    for space in legal_spaces([layer], SPACES[dims]):
        assert_same_map(
            folded,
            (lambda x: normed(layer.torch(x))) if after else (lambda x: layer.torch(normed(x))),
            folded.c_in,
            space,
            repr(layer),
        )


def test_depthwise_then_depthwise_stays_depthwise() -> None:
    a, b = (
        Convolution(torch.randn(6, 1, *k, dtype=torch.float64), None, 6, tuple(Window(t) for t in k))
        for k in ((3, 2), (2, 5))
    )
    folded = b @ a
    assert (folded.groups, tuple(folded.kernel.shape)) == (6, (6, 1, 4, 6))
    x = torch.randn(1, 6, 9, 11, dtype=torch.float64)
    assert_close(folded(x), F.conv2d(F.conv2d(x, a.kernel, groups=6), b.kernel, groups=6))


@pytest.mark.parametrize(("outer", "inner", "common"), [(2, 4, 2), (4, 2, 2), (2, 3, 1), (6, 4, 2), (12, 1, 1)])
def test_groups_of_the_result_are_the_greatest_common(outer: int, inner: int, common: int) -> None:
    a = Convolution(torch.randn(12, 12 // inner, 3, dtype=torch.float64), None, inner, (Window(3),))
    b = Convolution(torch.randn(24, 12 // outer, 2, dtype=torch.float64), None, outer, (Window(2),))
    folded = b @ a
    assert folded.groups == common
    x = torch.randn(2, 12, 7, dtype=torch.float64)
    assert_close(folded(x), F.conv1d(F.conv1d(x, a.kernel, groups=inner), b.kernel, groups=outer))


def test_a_bias_through_an_upsampling_has_one_value_a_phase() -> None:
    """A shift, then a 3-tap transposed convolution of stride 2: odd outputs see one tap, even ones two."""
    shift = torch.tensor([1.5, -2.0], dtype=torch.float64)
    weight = torch.randn(2, 3, 3, dtype=torch.float64)
    up = Convolution(weight.transpose(0, 1).flip(2), None, 1, (Window(3, 1, 2, 1, 0, 0),))
    folded = up @ Convolution(torch.eye(2, dtype=torch.float64)[..., None], shift, 1, (Window(),))
    assert folded.bias is not None and tuple(folded.bias.shape) == (3, 2)
    x = torch.randn(1, 2, 5, dtype=torch.float64)
    whole = F.conv_transpose1d(x + shift[:, None], weight, stride=2)
    assert_close(folded(x), whole[..., 2:-2], "the part that sees no border")


@given(st.data())
def test_a_periodic_bias_passes_on(data: st.DataObject) -> None:
    c = Drawn(data.draw)
    dims = c.pick([1, 2])
    first = convolution(c, dims)
    period = tuple(c.integer(1, 3) for _ in range(dims))
    first = Layer(
        Convolution(
            first.value.kernel,
            numbers(c, first.value.c_out, *period),
            first.value.groups,
            first.value.windows,
        ),
        first.torch,
        first.text,
    )
    second = convolution(c, dims, first.value.c_out)
    for space in legal_spaces([first, second], SPACES[dims]):
        try:
            folded = second.value.after(first.value, space)
        except NotFoldable:
            continue
        event("folded")
        assert_same_map(folded, lambda x: second.torch(first.value(x)), folded.c_in, space)


A, B = torch.randn(4, 2, 3, dtype=torch.float64), torch.randn(2, 4, 3, dtype=torch.float64)


@pytest.mark.parametrize(
    ("outer", "inner", "sizes", "code"),
    [
        (
            Convolution(B[:, :3], None, 1, (Window(3),)),
            Convolution(A, None, 1, (Window(3),)),
            None,
            "channels-differ",
        ),
        (
            Convolution(B, None, 1, (Window(3),)),
            Convolution(A[..., None], None, 1, (Window(3), Window())),
            None,
            "dimensions-differ",
        ),
        (
            Convolution(B, None, 1, (Window(3, lo=1, hi=1),)),
            Convolution(A, None, 1, (Window(3, lo=1, hi=1),)),
            None,
            "ghost-depends-on-data",
        ),
        (
            Convolution(B, None, 1, (Window(3, lo=1, hi=1),)),
            Convolution(A, None, 1, (Window(3, lo=1, hi=1),)),
            (9,),
            "ghost-depends-on-data",
        ),
        (
            Convolution(B, None, 1, (Window(3, lo=1, hi=1),)),
            Convolution(A[..., :1], A[:, 0, 0], 1, (Window(),)),
            None,
            "ghost-is-constant",
        ),
        (
            Convolution(B, None, 1, (Window(3, upsample=2),)),
            Convolution(A, None, 1, (Window(3, stride=4),)),
            None,
            "stride-upsample",
        ),
        (
            Convolution(B, None, 1, (Window(3, upsample=3),)),
            Convolution(A, None, 1, (Window(3, stride=2),)),
            None,
            "size-depends-on-remainder",
        ),
    ],
)
def test_refused(outer: Convolution, inner: Convolution, sizes: tuple[int, ...] | None, code: str) -> None:
    with refused(code):
        outer.after(inner, sizes)


def test_a_known_size_settles_the_remainder() -> None:
    inner = Convolution(A, None, 1, (Window(3, stride=2, lo=2, hi=2),))
    outer = Convolution(B, None, 1, (Window(3, upsample=3),))
    for n in (4, 5, 6, 7):
        assert_same_map(outer.after(inner, (n,)), lambda x: outer(inner(x)), 2, (n,))
