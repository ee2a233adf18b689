"""The border of a chain: where it begins, and each piece of it, against the chain run step by step."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from convfold.algebra.border import pieces
from convfold.algebra.convolution import Convolution
from convfold.algebra.margins import Margin, apart, boxes, far, high_strip, low_strip, margin, margins, shortest
from convfold.algebra.series import chain
from convfold.algebra.window import Window
from convfold.errors import NotFoldable
from convfold.ops import Eager, end
from tests.laws.generate import Layer, Seeded, conv, conv_transpose, convolution, legal_spaces
from tests.laws.oracle import assert_close

SPACE = {1: 14, 2: 9, 3: 6}


def random_chain(seed: int, dims: int) -> tuple[list[Layer], tuple[int, ...]] | None:
    """Two to four padded layers of any kind and a legal size; None where there is none."""
    c = Seeded.of(seed)
    layers: list[Layer] = []
    for _ in range(c.integer(2, 4)):
        make = c.pick([conv, conv_transpose, convolution])
        layers.append(make(c, dims, layers[-1].value.c_out if layers else None))
    sizes = tuple(c.integer(1, SPACE[dims]) for _ in range(dims))
    return (layers, sizes) if legal_spaces(layers, [sizes]) else None


def steps_of(layers: Sequence[Layer]) -> list[tuple[tuple[Window, ...], bool]]:
    return [(layer.value.windows, layer.value.bias is not None) for layer in layers]


def run(layers: Sequence[Layer], x: torch.Tensor) -> torch.Tensor:
    for layer in layers:
        x = layer.torch(x)
    return x


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_one_convolution_and_the_pieces_are_the_chain(dims: int) -> None:
    done = mended = 0
    for seed in range(10_000):
        if (found := random_chain(seed, dims)) is None:
            continue
        layers, sizes = found
        values = [layer.value for layer in layers]
        before = [sizes]
        for value in values:
            before.append(value.geometry.size(before[-1]))
        *before, after = before
        try:
            whole = chain(values, before, endless=True)
        except NotFoldable:
            continue
        done += 1
        x = torch.randn(2, whole.c_in, *sizes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        expected, got = run(layers, x), whole(x)
        found_ends = margins([steps_of(layers)], sizes)
        ends = [e.within(n) for e, n in zip(found_ends, after, strict=True)]
        inside = (..., *(slice(e.lo, n - e.hi) for e, n in zip(ends, after, strict=True)))
        assert_close(got[inside], expected[inside], f"interior, seed {seed}")
        for piece in pieces([values], sizes, ends):
            mended += 1
            if not piece.linear:
                assert_close(piece.operator.kernel, torch.zeros_like(piece.operator.kernel), f"constant, seed {seed}")
            got[piece.place()] += piece(x)
        assert_close(got, expected, f"seed {seed} at {sizes}", tolerance=1e-11)
        if done == 120:
            break
    assert done == 120 and mended > 100


@pytest.mark.parametrize("dims", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_pieces_that_are_the_same_at_every_size(dims: int) -> None:
    """Read off where the ends are far from each other, exact where they meet: down to the smallest size there is."""
    done = mended = tiny = 0
    for seed in range(10_000):
        c = Seeded.of(seed)
        layers: list[Layer] = []
        for _ in range(c.integer(2, 4)):
            make = c.pick([conv, conv_transpose, convolution])
            layers.append(make(c, dims, layers[-1].value.c_out if layers else None))
        values = [layer.value for layer in layers]
        free = [i for i in range(dims) if c.integer(0, 3)] or [0]
        windows = [[value.windows[i] for value in values] for i in range(dims)]
        periods = [value.geometry.period or (1,) * dims for value in values]
        if not all(apart(windows[i], [p[i] for p in periods]) for i in free):
            continue
        known = [None if i in free else c.integer(1, 5) for i in range(dims)]
        least = tuple(shortest(w) if n is None else None for w, n in zip(windows, known, strict=True))
        long = tuple(far(w) if n is None else n for w, n in zip(windows, known, strict=True))
        ends = margins([steps_of(layers)], known)
        if any(not (e.data or e.empty) for e in ends):
            continue
        try:
            whole = chain(values, endless=True)
        except NotFoldable:
            continue
        sizes = [tuple(n or k for n, k in zip(known, (m,) * dims, strict=True)) for m in (1, 2, 3, 4, 6, 11)]
        sizes = legal_spaces(layers, sizes)
        if not sizes or not legal_spaces(layers, [long]):
            continue
        after = long
        for value in values:
            after = value.geometry.size(after)
        ends = [e if n is None else e.within(m) for e, n, m in zip(ends, known, after, strict=True)]
        found = list(pieces([values], long, ends, least))
        done += bool(found)
        for size in sizes:
            x = torch.randn(2, whole.c_in, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
            expected, got = run(layers, x), whole(x)
            for piece in found:
                mended += 1
                tiny += any(n is not None and m < 4 for n, m in zip(least, size, strict=True))
                got = Eager(got).added_to(got, 2, [piece.part(piece(x), 1)])
            assert_close(got, expected, f"seed {seed} at {size}", tolerance=1e-11)
        if done == 40:
            break
    assert done == 40 and mended > 200 and tiny > 100


def test_ends_that_meet() -> None:
    """Of five layers that pad, two ends of one position know of each other, and their pieces do not."""
    torch.manual_seed(0)
    values = [Convolution(torch.randn(1, 1, 3).double(), None, 1, (Window(3, lo=1, hi=1),)) for _ in range(5)]
    windows = [value.windows[0] for value in values]
    assert apart(windows[:3], [1] * 3) and not apart(windows, [1] * 5)
    assert not apart([Window(3, 2, lo=1, hi=1), Window(3, lo=1, hi=1)], [1, 1])
    found = list(pieces([values], (far(windows),), margins([[(v.windows, False) for v in values]], [None]), (1,)))
    whole = chain(values, endless=True)
    wrong = []
    for n in range(1, 9):
        x = torch.randn(1, 1, n, dtype=torch.float64)
        expected, got = x, whole(x)
        for value in values:
            expected = value(expected)
        for piece in found:
            got = Eager(got).added_to(got, 2, [piece.part(piece(x), 1)])
        wrong += [] if torch.allclose(got, expected, rtol=0, atol=1e-9) else [n]
    assert wrong == [1, 2]


@pytest.mark.parametrize("dims", [1, 2])
def test_steps_on_strips_at_every_size(dims: int) -> None:
    """What Bordered does: the strips are found without knowing the size, and exact at each, the smallest too."""
    done = 0
    for seed in range(10_000):
        c = Seeded.of(seed)
        layers: list[Layer] = []
        for _ in range(c.integer(2, 3)):
            layers.append(c.pick([conv, conv_transpose])(c, dims, layers[-1].value.c_out if layers else None))
        values = [layer.value for layer in layers]
        try:
            whole = chain(values, endless=True)
        except NotFoldable:
            continue
        ends = margins([steps_of(layers)], [None] * dims)
        if all(e.empty for e in ends):
            continue
        done += 1
        for sizes in legal_spaces(
            layers, [(n,) * dims for n in (1, 2, 3, 4, 5, 7, 12, *((13, 30) if dims == 1 else ()))]
        ):
            x = torch.randn(1, whole.c_in, *sizes, dtype=torch.float64)
            expected, got = run(layers, x), whole(x)
            for i, e in enumerate(ends):
                windows = [value.windows[i] for value in values]
                for rows, high in ((e.lo, False), (e.hi, True)):
                    if rows:
                        strip = (high_strip if high else low_strip)(windows, rows)
                        exact = run(layers, end(x, 2 + i, strip.inputs, strip.step, high))
                        end(got, 2 + i, rows, 1, high).copy_(end(exact, 2 + i, rows, 1, high))
            assert_close(got, expected, f"seed {seed} at {sizes}")
        if done == 60:
            break
    assert done == 60


@pytest.mark.parametrize(
    ("windows", "biased", "n", "expected"),
    [
        # 3×3 after 3×3, both padded: one output at each end reads what the first would have beyond its end.
        ((Window(3, lo=1, hi=1),) * 2, False, 9, Margin(1, 1, True)),
        ((Window(3, lo=1, hi=1),) * 3, False, 9, Margin(2, 2, True)),
        # One tap with a bias: a constant; without, nothing.
        ((Window(), Window(3, lo=1, hi=1)), True, 9, Margin(1, 1, False)),
        ((Window(), Window(3, lo=1, hi=1)), False, 9, Margin(0, 0, False)),
        # Padded in full, the first has nothing beyond its end.
        ((Window(3, lo=2, hi=2), Window(3, lo=1, hi=1)), False, 9, Margin(0, 0, False)),
        # All padding first, no ring.
        ((Window(3, lo=2, hi=2), Window(3)), True, 9, Margin(0, 0, False)),
        # A stride that does not reach the far padding at this size, but does at others.
        ((Window(), Window(3, stride=2, lo=1, hi=1)), True, 8, Margin(1, 0, False)),
        ((Window(), Window(3, stride=2, lo=1, hi=1)), True, 9, Margin(1, 1, False)),
        ((Window(), Window(3, stride=2, lo=1, hi=1)), True, None, Margin(1, 1, False)),
        # EDSR's tail, from the low resolution: three pixels of the high one.
        (
            (
                Window(3, lo=1, hi=1),
                Window(2, upsample=2, lo=1, hi=1),
                Window(3, lo=1, hi=1),
                Window(2, upsample=2, lo=1, hi=1),
                Window(3, lo=1, hi=1),
            ),
            True,
            48,
            Margin(3, 3, True),
        ),
        # Everything is near an end.
        ((Window(5, lo=2, hi=2),) * 2, False, 3, Margin(3, 0, True)),
    ],
)
def test_margins_worked_by_hand(windows: tuple[Window, ...], biased: bool, n: int | None, expected: Margin) -> None:
    found = margin(windows, (biased,) * len(windows), n)
    if n is not None:
        for w in windows:
            n = w.size(n)
        found = found.within(n)
    assert found == expected


def test_the_margins_at_any_size_hold_at_every_one() -> None:
    """Strides of every remainder: between them one convolution is the chain."""
    inside = 0
    for seed in range(200):
        c = Seeded.of(seed)
        layers = [conv(c, 1, 2)]
        for _ in range(2):
            layers.append(conv(c, 1, layers[-1].value.c_out))
        ends = margins([steps_of(layers)], [None])
        whole = chain([layer.value for layer in layers], endless=True)
        for sizes in legal_spaces(layers, [(n,) for n in range(1, 40)]):
            x = torch.randn(1, whole.c_in, *sizes, dtype=torch.float64)
            expected, got = run(layers, x), whole(x)
            between = (..., slice(ends[0].lo, max(expected.shape[2] - ends[0].hi, 0)))
            inside += expected[between].numel()
            assert_close(got[between], expected[between], f"seed {seed} at {sizes}")
    assert inside > 10_000


@pytest.mark.parametrize("sizes", [(7,), (6, 5), (3, 9, 4), (2, 8)])
def test_boxes_cover_the_border_once(sizes: tuple[int, ...]) -> None:
    ends = [Margin(1, 2, True).within(n) for n in sizes]
    count = torch.zeros(sizes)
    for box in boxes(ends, sizes):
        count[tuple(slice(None) if r is None else slice(r.start, r.stop) for r in box)] += 1
    inside = torch.zeros(sizes, dtype=torch.bool)
    inside[tuple(slice(e.lo, n - e.hi) for e, n in zip(ends, sizes, strict=True))] = True
    assert torch.equal(count, (~inside).float())


def test_a_chain_is_joined_where_it_can_be() -> None:
    """Stride 2 then upsample 2 is no convolution; but with an upsample before it, it is."""
    up, down = Window(2, upsample=2, lo=1, hi=1), Window(2, stride=2)
    values = [Convolution(torch.randn(1, 1, 2, dtype=torch.float64), None, 1, (w,)) for w in (up, down, up)]
    whole, x = chain(values), torch.randn(1, 1, 7, dtype=torch.float64)
    assert_close(whole(x), values[2](values[1](values[0](x))))
