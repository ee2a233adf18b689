"""What realisations multiply, with numbers worked by hand; the operators of the frontends are held against torch."""

from __future__ import annotations

import pytest

from convfold.algebra.geometry import Geometry
from convfold.algebra.operation import Sums, Work
from convfold.algebra.realisation import Convolve, Linear, Product, Realisation, Shuffle, Transpose
from convfold.algebra.window import Window

STEM = Geometry(64, 3, 1, (Window(7, 2, lo=3, hi=3),) * 2)
DEPTHWISE = Geometry(32, 32, 32, (Window(3, lo=1, hi=1),) * 2)
DOUBLING = Geometry(8, 16, 1, (Window(4, upsample=2, lo=2, hi=2),) * 2)
UNFOLDING = Geometry(8, 16, 1, (Window(2, upsample=2, lo=1, hi=1),) * 2)
WIDENING = Geometry(8, 8, 1, (Window(5, lo=4, hi=4),) * 2)


@pytest.mark.parametrize(
    ("how", "geometry", "shape", "macs"),
    [
        (Convolve(), STEM, (1, 3, 224, 224), 64 * 3 * 49 * 112 * 112),
        (Convolve(), DEPTHWISE, (2, 32, 10, 8), 2 * 32 * 9 * 80),
        (Transpose(), DOUBLING, (1, 16, 5, 7), 8 * 16 * 16 * 5 * 7),
        (Shuffle(2), DOUBLING, (1, 16, 5, 7), (4 * 8) * 16 * 9 * 5 * 7),  # its phases read 2×2 inputs, all of them 3×3
        (Transpose(), UNFOLDING, (1, 16, 5, 7), 8 * 16 * 4 * 5 * 7),
        (Shuffle(2), UNFOLDING, (1, 16, 5, 7), (4 * 8) * 16 * 1 * 5 * 7),
        # Where there are more outputs than inputs a convolution multiplies the padding too.
        (Convolve(), WIDENING, (1, 8, 4, 4), 8 * 8 * 25 * 8 * 8),
        (Transpose(), WIDENING, (1, 8, 4, 4), 8 * 8 * 25 * 4 * 4),
        (Product(), Geometry(1000, 2048), (3, 2048), 3 * 1000 * 2048),
        (Linear(), Geometry(6, 4, 2), (2, 4, 5), 2 * 5 * 6 * 4),  # groups are written out
    ],
)
def test_multiply_adds(how: Realisation, geometry: Geometry, shape: tuple[int, ...], macs: int) -> None:
    assert sum(call.macs for call in how.work(geometry, shape, 1)) == macs


def test_what_is_padded_unevenly_is_padded_first() -> None:
    uneven = Geometry(4, 2, 1, (Window(3, lo=0, hi=1),))
    assert list(Convolve().work(uneven, (1, 2, 6), 1)) == [
        Work(0, 2 * (6 + 7)),
        Work(4 * 2 * 3 * 5, 2 * 7 + 4 * 5 + 24, "convolution", Sums(1, 2, 4, 3, 5)),
    ]
    cropped = Geometry(4, 2, 1, (Window(3, lo=-1, hi=2),))  # zeros first: a crop may eat into them
    assert [call.moved for call in Convolve().work(cropped, (1, 2, 6), 1)][:2] == [2 * (6 + 8), 2 * (8 + 7)]
