"""One axis's integers, with numbers worked by hand from the definition."""

from __future__ import annotations

import pytest

from convfold.algebra.window import Window, parallel, series, transposed
from tests.laws.oracle import refused


@pytest.mark.parametrize(
    ("window", "n", "size"),
    [
        (Window(3), 7, 5),
        (Window(3, lo=1, hi=1), 7, 7),
        (Window(7, stride=2, lo=3, hi=3), 224, 112),  # a ResNet's stem
        (Window(3, stride=2, lo=0, hi=1), 224, 112),  # TensorFlow "same"
        (Window(3, dilation=2), 7, 3),
        (Window(2, stride=2), 7, 3),
        (Window(1, lo=-1, hi=-2), 7, 4),
        (Window(4), 3, 0),
        (Window(1, stride=4), 1, 1),
    ],
)
def test_size(window: Window, n: int, size: int) -> None:
    assert window.size(n) == size


@pytest.mark.parametrize(
    ("taps", "stride", "dilation", "padding", "output_padding", "n", "size"),
    [
        (2, 2, 1, 0, 0, 5, 10),
        (3, 2, 1, 1, 1, 5, 10),
        (4, 2, 1, 1, 0, 5, 10),
        (3, 3, 2, 0, 2, 4, 16),
    ],
)
def test_transposed_sizes_are_pytorchs(
    taps: int, stride: int, dilation: int, padding: int, output_padding: int, n: int, size: int
) -> None:
    assert size == (n - 1) * stride - 2 * padding + dilation * (taps - 1) + output_padding + 1
    assert transposed(taps, stride, dilation, padding, output_padding).size(n) == size


def test_transposed_pads() -> None:
    assert transposed(4, 2, 1, 1, 0) == Window(4, 1, 2, 1, 2, 2)
    assert transposed(3, 2, 2, 5, 1) == Window(3, 1, 2, 2, -1, 0)


def test_reach_and_slack() -> None:
    w = Window(3, dilation=4, lo=1, hi=2)
    assert (w.reach, w.slack) == (8, -5)


def test_one_tap_has_no_dilation() -> None:
    assert Window(1, dilation=3) == Window(1)
    assert Window(1, dilation=3).pointwise
    assert not Window(1, stride=2).pointwise and not Window(1, lo=1, hi=-1).pointwise


@pytest.mark.parametrize(
    ("outer", "inner", "a", "b", "composed"),
    [
        (Window(3), Window(3), 1, 1, Window(5)),
        (Window(5), Window(3), 1, 1, Window(7)),
        # Merged padding is p1 + s1·p2, not p1 + p2.
        (Window(3, lo=1, hi=1), Window(3, stride=2, lo=1, hi=1), 1, 2, Window(7, stride=2, lo=3, hi=3)),
        (Window(3, stride=3), Window(3, stride=2), 1, 2, Window(7, stride=6)),
        # Dilations 2 and 4: the taps stand 2 apart.
        (Window(3, dilation=4), Window(2, dilation=2), 1, 2, Window(6, dilation=2)),
        (Window(2, dilation=2), Window(3, dilation=3), 3, 2, Window(9)),
        # A 3-tap before a transposed one of stride 2: its taps stand 2 apart.
        (Window(2, upsample=2, lo=1, hi=1), Window(3), 2, 1, Window(6, upsample=2, lo=1, hi=1)),
        (Window(2, dilation=2), Window(1, upsample=3), 1, 1, Window(2, upsample=3, dilation=2)),
    ],
)
def test_series(outer: Window, inner: Window, a: int, b: int, composed: Window) -> None:
    found = series(outer, inner)
    assert (found.a, found.b, found.window, found.keep) == (a, b, composed, slice(None))


def test_series_divides_what_upsampling_and_stride_share() -> None:
    """Twice as many by zeros, three taps, every second: tap 1 alone meets data."""
    found = series(Window(3, stride=2, lo=1, hi=1), Window(1, upsample=2, lo=0, hi=1))
    assert found.keep == slice(1, None, 2)
    assert found.window == Window(1, 1, 1, 1, 0, 0)
    # Without the pad taps 0 and 2 do.
    found = series(Window(3, stride=2), Window(1, upsample=2, lo=0, hi=1))
    assert found.keep == slice(0, None, 2)
    assert found.window == Window(2, 1, 1, 1, 0, 0)


def test_series_of_which_no_tap_meets_data() -> None:
    found = series(Window(1, stride=2), Window(1, upsample=2, lo=1, hi=0))
    assert found.keep is None
    assert found.window.taps == 1


def test_series_refusals() -> None:
    with refused("stride-upsample"):
        series(Window(3, upsample=2), Window(3, stride=2))
    with refused("size-depends-on-remainder"):
        series(Window(3, upsample=2), Window(3, stride=3))
    assert series(Window(3, upsample=2), Window(3, stride=3), 8).window.size(8) == 1  # ⌊5/3⌋+1 = 2, then 3 − 2 = 1


@pytest.mark.parametrize("n", range(3, 12))
def test_with_size_moves_only_the_far_pad(n: int) -> None:
    w = Window(3, stride=3, lo=1, hi=1)
    assert w.with_size(n, w.size(n)) == w
    for m in (w.size(n) - 1, w.size(n) + 1, w.size(n) + 2):
        moved = w.with_size(n, m)
        assert moved.size(n) == m
        assert (moved.taps, moved.stride, moved.lo) == (w.taps, w.stride, w.lo)


@pytest.mark.parametrize(
    ("first", "second", "window", "a", "b"),
    [
        # RepVGG: 3 taps padded by 1, and one tap in their middle.
        (Window(3, lo=1, hi=1), Window(1), Window(3, lo=1, hi=1), slice(0, 3, 1), slice(1, 2, 1)),
        # Dilated by 2 and by 3, both padded in full: positions −2 0 2 and −3 0 3.
        (
            Window(3, dilation=2, lo=2, hi=2),
            Window(3, dilation=3, lo=3, hi=3),
            Window(7, lo=3, hi=3),
            slice(1, 6, 2),
            slice(0, 7, 3),
        ),
        # Both dilated by 2: so is the sum.
        (
            Window(3, dilation=2, lo=2, hi=2),
            Window(5, dilation=2, lo=4, hi=4),
            Window(5, dilation=2, lo=4, hi=4),
            slice(1, 4, 1),
            slice(0, 5, 1),
        ),
        # "same" with 2 taps: positions 0 1 and −1 0.
        (Window(2, hi=1), Window(2, lo=1), Window(3, lo=1, hi=1), slice(1, 3, 1), slice(0, 2, 1)),
    ],
)
def test_parallel(first: Window, second: Window, window: Window, a: slice, b: slice) -> None:
    found = parallel(first, second)
    assert (found.window, found.first, found.second) == (window, a, b)
    assert parallel(second, first).window == window


def test_parallel_refusals() -> None:
    with refused("sizes-differ"):
        parallel(Window(3), Window(3, stride=2))
    with refused("sizes-differ"):
        parallel(Window(3, stride=2), Window(3, stride=2, lo=1))
    with refused("sizes-differ"):
        parallel(Window(3, stride=2), Window(3, stride=2, lo=1), 6)
    assert parallel(Window(3, stride=2), Window(3, stride=2, lo=1), 5).window.size(5) == 2
