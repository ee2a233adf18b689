"""Runs of views and permutes that are shuffles, against torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from convfold.algebra.layout import Layout
from convfold.algebra.regroup import shuffled as seen
from convfold.algebra.shuffle import shuffled, unshuffled


def applied(run: Sequence[Layout], x: Tensor) -> Tensor:
    for step in run:
        x = x.permute(step.order) if step.order is not None else x.reshape(step.shape or ())
    return x


@st.composite
def runs(draw: st.DrawFn) -> tuple[tuple[int, ...], list[Layout], list[tuple[int, ...]]]:
    """Axes split, permuted and joined, such as patches, tokens and windows are made by; shapes behind each."""
    parts = [draw(st.lists(st.integers(1, 3), min_size=1, max_size=2)) for _ in range(draw(st.integers(2, 5)))]
    shape = tuple(int(torch.tensor(p).prod()) for p in parts)
    flat = tuple(n for p in parts for n in p)
    order = draw(st.permutations(range(len(flat))))
    cuts = sorted(draw(st.sets(st.integers(1, len(flat) - 1), max_size=4))) if len(flat) > 1 else []
    moved = [flat[i] for i in order]
    joined = tuple(int(torch.tensor(moved[a:b]).prod()) for a, b in zip([0, *cuts], [*cuts, len(flat)], strict=True))
    steps = [Layout.view(shape, flat, flat), Layout.permute(order), Layout.view(tuple(moved), joined, joined)]
    return shape, steps, [shape, flat, tuple(moved), joined]


@given(runs())
def test_a_run_is_what_it_is_seen_as(run: tuple[tuple[int, ...], list[Layout], list[tuple[int, ...]]]) -> None:
    shape, steps, shapes = run
    found = seen(steps, shapes)
    if found is None:
        return
    x = torch.arange(float(torch.tensor(shape).prod())).double().reshape(shape)
    made = (unshuffled if found.down else shuffled)(found.channels, found.rates, found.order)
    y = applied(found.after, made(applied(found.before, x)))
    assert torch.equal(y, applied(steps, x))


@given(st.integers(1, 3), st.lists(st.integers(1, 3), min_size=1, max_size=3), st.booleans(), st.data())
def test_published_orders_are_seen(c: int, rates: list[int], down: bool, data: st.DataObject) -> None:
    """(n, c, h·r, w·r) ↔ (n, channels in any order, h, w), written as a view, a permute and a view."""
    d, rates = len(rates), [r + 1 for r in rates]
    space = data.draw(st.lists(st.integers(2, 3), min_size=d, max_size=d))
    split = (2, c, *(n for pair in zip(space, rates, strict=True) for n in pair))
    inner = data.draw(st.permutations([1, *(3 + 2 * i for i in range(d))]))  # the channels, and the phases
    order = [0, *inner, *(2 + 2 * i for i in range(d))]
    high = (2, c, *(n * r for n, r in zip(space, rates, strict=True)))
    many = c * int(torch.tensor(rates).prod())
    low, moved = (2, many, *space), tuple(split[i] for i in order)
    back = [order.index(i) for i in range(len(order))]
    if down:
        steps, shapes = [Layout.view(high, split, split), Layout.permute(order), Layout.view(moved, low, low)], high
        lengths = [high, split, moved, low]
    else:
        steps, shapes = [Layout.view(low, moved, moved), Layout.permute(back), Layout.view(split, high, high)], low
        lengths = [low, moved, split, high]
    found = seen(steps, lengths)
    assert found is not None
    assert (found.down, found.channels, found.rates) == (down, c, tuple(rates))
    assert not found.before and not found.after
    x = torch.randn(shapes, dtype=torch.float64)
    made = (unshuffled if down else shuffled)(c, found.rates, found.order)
    assert torch.equal(made(x), applied(steps, x))


def test_what_has_no_axes_is_none() -> None:
    assert seen([Layout.view((1,), (), ())], [(1,), ()]) is None
    assert seen([Layout.view((), (1,), (1,))], [(), (1,)]) is None
