"""The ring of constants: against the padded signal itself, and its two forms against each other."""

from __future__ import annotations

from random import Random

import pytest
import torch

from convfold.algebra.border import Ring, ring, together
from convfold.algebra.convolution import Convolution, padded
from convfold.algebra.window import Window
from tests.laws.oracle import assert_close


def random_ring(r: Random, dims: int) -> tuple[Convolution, tuple[int, ...]] | None:
    """A convolution and the size of what it reads; None where it has no output."""
    windows = []
    for _ in range(dims):
        taps = r.randint(1, 4)
        windows.append(Window(taps, r.randint(1, 3), 1, r.randint(1, 2), r.randint(-1, 4), r.randint(-1, 4)))
    b = Convolution(torch.randn(2, 3, *(w.taps for w in windows), dtype=torch.float64), None, 1, tuple(windows))
    sizes = tuple(r.randint(1, 9) for _ in range(dims))
    return (b, sizes) if all(n > 0 for n in b.geometry.size(sizes)) else None


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_is_what_a_constant_without_end_would_have_added(dims: int) -> None:
    r, done, torch_seed = Random(dims), 0, torch.manual_seed(dims)
    assert torch_seed is not None
    while done < 150:
        if (found := random_ring(r, dims)) is None:
            continue
        b, sizes = found
        done += 1
        after = b.geometry.size(sizes)
        constant = torch.randn(3, dtype=torch.float64)
        signal = constant.reshape(1, -1, *(1,) * dims).expand(1, 3, *sizes)
        far = 12  # farther than any window reaches
        endless = constant.reshape(1, -1, *(1,) * dims).expand(1, 3, *(n + 2 * far for n in sizes))
        moved = tuple(Window(w.taps, w.stride, 1, w.dilation, w.lo - far, w.hi - far) for w in b.windows)
        expected = b(signal) - Convolution(b.kernel, None, 1, moved)(endless)
        taps = torch.einsum("om...,m->o...", b.kernel, constant)
        got = ring(taps, b.windows, sizes, after)
        assert_close(got.map(), expected[0])
        assert_close(by_strips(got), expected[0])


def by_strips(it: Ring) -> torch.Tensor:
    total = it.table.new_zeros(it.table.shape[0], *it.sizes)
    for box, values in it.strips():
        total[(slice(None), *(slice(*ends) for ends in box))] += values
    return total


def test_the_interior_is_nothing_at_all() -> None:
    window = Window(3, 1, 1, 1, 1, 1)
    it = ring(torch.randn(4, 3, 3, dtype=torch.float64), (window, window), (6, 7), (6, 7))
    assert it.margins == ((1, 1), (1, 1)) and it.table.shape == (4, 3, 3)
    assert bool((it.map()[:, 1:-1, 1:-1] == 0).all())
    assert sum(values.numel() for _, values in it.strips()) < it.map().numel()


def test_a_map_smaller_than_the_ring_is_all_ring() -> None:
    window = Window(5, 1, 1, 1, 2, 2)
    it = ring(torch.randn(4, 5, dtype=torch.float64), (window,), (3,), (3,))
    assert it.margins == ((3, 0),) and it.map().shape == (4, 3)


def test_rings_of_one_map_add_up() -> None:
    rings = [
        ring(torch.randn(2, t, t, dtype=torch.float64), (Window(t, 1, 1, 1, lo, t - 1 - lo),) * 2, (5, 8), (5, 8))
        for t, lo in ((3, 1), (4, 3), (5, 2))
    ]
    assert_close(together(rings).map(), sum(it.map() for it in rings))  # type: ignore[arg-type]


def test_padded_is_the_same_convention() -> None:
    """`Window` pads with zeros on both ends, as the ring takes for granted."""
    x = torch.randn(1, 3, 5, dtype=torch.float64)
    b = Convolution(torch.randn(2, 3, 3, dtype=torch.float64), None, 1, (Window(3, 1, 1, 1, 2, 1),))
    inner = Convolution(b.kernel, None, 1, (Window(3, 1, 1, 1, 0, 0),))
    assert_close(b(x), inner(padded(x, [(2, 1)])))
