"""Channels, groups, periods and costs, with numbers worked by hand."""

from __future__ import annotations

import pytest

from convfold.algebra.geometry import Geometry, block, parallel, series, series_period, stack
from convfold.algebra.window import Window
from tests.laws.oracle import refused


def test_what_a_geometry_says() -> None:
    g = Geometry(8, 12, 4, (Window(3, lo=1, hi=1), Window(5, stride=2)))
    assert (g.dims, g.taps, g.kernel_shape) == (2, (3, 5), (8, 3, 3, 5))
    assert g.size((6, 9)) == (6, 3)
    assert not g.pointwise and not g.diagonal and not g.periodic
    assert Geometry(4, 4, 4, (Window(),)).diagonal
    assert not Geometry(8, 4, 4, (Window(),)).diagonal
    assert Geometry(4, 4, 1, (Window(),), (2,)).periodic


def test_lifted() -> None:
    assert Geometry(4, 3, 1, (), ()).lifted(2) == Geometry(4, 3, 1, (Window(),) * 2, (1, 1))
    assert Geometry(4, 3, 1, (Window(),) * 2).lifted(0) == Geometry(4, 3)
    with refused("dimensions-differ"):
        Geometry(4, 3, 1, (Window(3),)).lifted(2)


def test_series_of_a_widening_and_a_narrowing() -> None:
    """SESR's 3×3 16→256 then 1×1 256→16: one 3×3 16→16."""
    folded = series(Geometry(16, 256, 1, (Window(),) * 2, (1, 1)), Geometry(256, 16, 1, (Window(3, lo=1, hi=1),) * 2))
    assert folded == Geometry(16, 16, 1, (Window(3, lo=1, hi=1),) * 2, (1, 1))


def test_series_refuses_a_padded_second_on_either_axis() -> None:
    first = Geometry(4, 4, 1, (Window(3, lo=1, hi=1), Window(3, lo=2, hi=2)))
    with refused("ghost-depends-on-data") as caught:
        series(Geometry(4, 4, 1, (Window(3, lo=1, hi=1), Window(3))), first)
    assert "axis 0: 1 below, 1 above" in str(caught.value)
    folded = series(Geometry(4, 4, 1, (Window(3), Window(3, lo=1, hi=1))), first)
    assert folded.windows == (Window(5, lo=1, hi=1), Window(5, lo=3, hi=3))


@pytest.mark.parametrize(
    ("window", "period", "passed"),
    [
        (Window(3), 1, 1),
        (Window(3, upsample=2), 1, 2),
        (Window(3, upsample=2), 3, 6),
        (Window(3, stride=2), 1, 1),
        (Window(3, stride=2), 2, 1),
        (Window(3, stride=2), 3, 3),
        (Window(3, stride=2, upsample=3), 1, 3),
        (Window(3, stride=4, upsample=3), 2, 3),
    ],
)
def test_period_of_a_bias(window: Window, period: int, passed: int) -> None:
    assert series_period(Geometry(1, 1, 1, (window,)), Geometry(1, 1, 1, (Window(),), (period,))) == (passed,)


def test_periods_meet_in_their_least_common_multiple() -> None:
    a, b = (Geometry(2, 2, 1, (Window(), Window()), p) for p in ((2, 1), (3, 2)))
    assert parallel(a, b).period == (6, 2)
    assert parallel(a, Geometry(2, 2, 1, (Window(),) * 2)).period == (2, 1)
    assert series_period(Geometry(2, 2, 1, (Window(),) * 2, (2, 1)), b) == (6, 2)


def test_groups() -> None:
    a, b = Geometry(12, 12, 4, (Window(),)), Geometry(12, 12, 6, (Window(),))
    assert series(a, b).groups == parallel(a, b).groups == 2
    assert stack(a, b) == Geometry(24, 12, 1, (Window(),))


def test_block() -> None:
    g = Geometry(8, 4, 4, (Window(3),))
    assert block(g, range(4), range(2)) == Geometry(4, 2, 2, (Window(3),))
    assert block(g, range(6, 8), range(3, 4)) == Geometry(2, 1, 1, (Window(3),))
    assert block(g, range(2), range(2, 4)) is None
    assert block(Geometry(8, 4), range(1, 4), range(3)) == Geometry(3, 3)
    with refused("partition-differs"):
        block(g, range(3), range(2))
    with refused("partition-differs"):
        block(g, range(4), range(1, 3))


def test_channels_must_fit() -> None:
    with refused("channels-differ"):
        series(Geometry(2, 3), Geometry(2, 2))
    with refused("channels-differ"):
        parallel(Geometry(2, 3), Geometry(2, 2))
    with refused("channels-differ"):
        stack(Geometry(2, 3), Geometry(2, 2))


def test_a_bias_without_space_axes_is_a_bias() -> None:
    """Its period is (), which is not None: a sum or stack of linear layers keeps it."""
    with_bias, without = Geometry(4, 4, 1, (), ()), Geometry(4, 4, 1, (), None)
    for joined in (parallel, stack):
        assert joined(with_bias, without).period == joined(without, with_bias).period == ()
        assert joined(without, without).period is None
