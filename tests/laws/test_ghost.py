"""What the second of two reads outside the first's extent.

The analysis is held against an enumeration, the refusals against what would have gone wrong.
"""

from __future__ import annotations

import random
from collections import Counter
from math import gcd

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from convfold.algebra import geometry
from convfold.algebra.window import Ghost, Window, ghost
from convfold.errors import NotFoldable
from tests.effort import examples
from tests.laws.generate import Drawn, Layer, Seeded, conv, conv_transpose, convolution, in_turn, legal_spaces
from tests.laws.generate import window as any_window


def outputs(w: Window, n: int) -> int:
    """Count the windows that fit."""
    length, count = (n - 1) * w.upsample + 1 + w.lo + w.hi, 0
    while count * w.stride + w.dilation * (w.taps - 1) < length:
        count += 1
    return count


def read_by(w: Window, output: int) -> set[int]:
    """Input positions, inside the extent or not, that an output reads."""
    at = (w.stride * output + w.dilation * t - w.lo for t in range(w.taps))
    return {p // w.upsample for p in at if p % w.upsample == 0}


def enumerated(outer: Window, inner: Window, n: int) -> Ghost:
    m = outputs(inner, n)
    read = {p for q in range(outputs(outer, m)) for p in read_by(outer, q)}
    outside = {p for p in read if not 0 <= p < m}
    data = any(0 <= q < n for p in outside for q in read_by(inner, p))
    return Ghost(sum(p < 0 for p in outside), sum(p >= m for p in outside), data)


windows = st.composite(lambda draw: any_window(Drawn(draw), taps=5))


@given(windows(), windows(), st.integers(1, 14))
@settings(max_examples=examples(1000))
@example(Window(3, lo=1, hi=1), Window(3, lo=1, hi=1), 5)
def test_at_a_known_size_the_ghost_is_exact(outer: Window, inner: Window, n: int) -> None:
    if outputs(inner, n):
        assert ghost(outer, inner, n) == enumerated(outer, inner, n)


@given(windows(), windows())
@settings(max_examples=examples(300))
def test_at_any_size_the_ghost_is_safe(outer: Window, inner: Window) -> None:
    """No size has more than is reported."""
    bound = ghost(outer, inner)
    for n in range(1, 16):
        if outputs(inner, n):
            found = enumerated(outer, inner, n)
            assert found.lo <= bound.lo and found.hi <= bound.hi
            assert bound.data or not found.data


@given(windows(), st.integers(1, 20))
@settings(max_examples=examples(300))
def test_size_counts_the_windows_that_fit(w: Window, n: int) -> None:
    assert w.size(n) == outputs(w, n)


@pytest.mark.parametrize(
    ("outer", "inner", "n", "expected"),
    [
        # 3 after 3, both padded by 1: one position a side, which the first could have computed.
        (Window(3, lo=1, hi=1), Window(3, lo=1, hi=1), 5, Ghost(1, 1, True)),
        # The first padded in full: beyond its extent it has nothing.
        (Window(3, lo=1, hi=1), Window(3, lo=2, hi=2), 5, Ghost(1, 1, False)),
        # One tap before a padded one: nothing but its bias.
        (Window(3, lo=1, hi=1), Window(), 5, Ghost(1, 1, False)),
        # Unpadded: no ghost.
        (Window(3), Window(3, lo=1, hi=1), 5, Ghost(0, 0, False)),
        # Stride 2 over 6 padded positions: the last is not read, the pad above it never matters.
        (Window(3, stride=2, lo=1, hi=1), Window(), 4, Ghost(1, 0, False)),
        # A transposed convolution of stride 2 and 4 taps, padding 1 (lo = hi = 2) reads one position outside.
        (Window(4, upsample=2, lo=2, hi=2), Window(), 4, Ghost(1, 1, False)),
        # A crop reads no ghost.
        (Window(1, lo=-1, hi=-1), Window(3, lo=1, hi=1), 6, Ghost(0, 0, False)),
    ],
)
def test_worked_by_hand(outer: Window, inner: Window, n: int, expected: Ghost) -> None:
    assert ghost(outer, inner, n) == expected == enumerated(outer, inner, n)


def refusals(seed: int, wanted: int, code: str) -> list[tuple[list[Layer], tuple[int, ...]]]:
    """Random pairs refused with ``code`` at a known size."""
    c, found = Seeded(random.Random(seed)), []
    while len(found) < wanted:
        dims = c.pick([1, 1, 2, 3])
        first = c.pick([conv, conv_transpose, convolution])(c, dims)
        if code == "ghost-is-constant":
            first = conv(c, dims, padding=c.pick(["none", "full"]), biased=True, pointwise=c.pick([True, False]))
        pair = [first, c.pick([conv, conv_transpose, convolution])(c, dims, first.value.c_out)]
        space = tuple(c.integer(1, {1: 12, 2: 6, 3: 4}[dims]) for _ in range(dims))
        if not legal_spaces(pair, [space]):
            continue
        windows = zip(pair[1].value.windows, pair[0].value.windows, strict=True)
        if any(gcd(outer.upsample, inner.stride) > 1 for outer, inner in windows):
            continue  # refused for another reason besides
        try:
            pair[1].value.after(pair[0].value, space)
        except NotFoldable as refusal:
            if refusal.code == code:
                found.append((pair, space))
    return found


@pytest.mark.parametrize("code", ["ghost-depends-on-data", "ghost-is-constant"])
def test_a_refusal_is_necessary(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Composed all the same, what is refused at a known size is wrong: the check is not timid.

    On one axis always; on several nearly always: one's ghost may meet only crops or zeros of another.
    """
    refused = refusals(20240229, 200, code)
    monkeypatch.setattr(geometry, "check_border", lambda *_: None)
    outcome: Counter[str] = Counter()
    for pair, space in refused:
        folded = pair[1].value.after(pair[0].value, space)
        x = torch.randn(1, folded.c_in, *space, dtype=torch.float64)
        error = (folded(x) - in_turn(pair)(x)).abs().max()
        outcome["wrong" if error > 1e-6 else "right"] += 1
        assert error > 1e-6 or folded.dims > 1, f"{pair} at {space}"
    print(f"{code}: {dict(outcome)}")
    assert outcome["wrong"] >= 0.9 * len(refused)
