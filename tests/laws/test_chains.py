"""Random chains of two to six padded layers against torch, in float64: no pixel may be wrong, the outermost either.

Every chain is run as F.convNd, F.conv_transposeNd and shuffles run it, at sizes down to the smallest legal. Beside it:
its one convolution with the border mended every way there is at that size, sizes known and free; and the module that
`merge` makes of a chain, which knows no size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import pytest
import torch
from torch import Tensor

from convfold.algebra.series import chain
from convfold.errors import NotFoldable
from convfold.layers.bordered import Bordered
from convfold.layers.shuffle import pixel_shuffle, pixel_unshuffle
from convfold.ops import Eager
from convfold.plan.border import Border, Correct, Way, ways
from convfold.plan.deferred import Given
from tests.effort import examples
from tests.laws.generate import (
    Chooser,
    Layer,
    Seeded,
    conv,
    conv_transpose,
    convolution,
    in_turn,
    legal_spaces,
    sizes_of,
)
from tests.laws.oracle import assert_close

#: The sizes a chain is run at, of those that are legal: the smallest, others that are less than the ring, larger ones.
SIZES = {1: (1, 2, 3, 4, 5, 6, 8, 11, 16, 23), 2: (1, 2, 3, 4, 5, 7, 10), 3: (1, 2, 3, 4, 6)}
SEVERAL = 3
#: And of no more positions than this: upsampled five times they would all be spent on one chain.
POSITIONS = 2000


def padded(c: Chooser, dims: int, c_in: int | None) -> Layer:
    """Any layer; mostly a padded convolution with few taps, as networks have them."""
    kind = c.pick(["conv", "conv", "conv", "one tap", "transposed", "any", "shuffle"])
    if kind == "conv":
        return conv(c, dims, c_in, stride=c.pick([1, 1, 2]))
    if kind == "one tap":
        return conv(c, dims, c_in, pointwise=True, padding=c.pick(["none", "any"]), stride=1)
    if kind == "transposed":
        return conv_transpose(c, dims, c_in, stride=2)
    if kind == "any":
        return convolution(c, dims, c_in)
    if dims == 2 and c_in is not None and c_in % 4 == 0:
        value = pixel_shuffle(c_in, 2)
        return Layer(value, lambda x: torch.pixel_shuffle(x, 2), "pixel_shuffle(2)")
    if dims == 2 and c_in is not None and c.pick([False, True]):
        # One that divides the size is all there is: torch refuses the others.
        value = pixel_unshuffle(c_in, 1)
        return Layer(value, lambda x: torch.pixel_unshuffle(x, 1), "pixel_unshuffle(1)")
    return conv(c, dims, c_in, stride=1)


def random_chain(c: Chooser, dims: int) -> list[Layer]:
    layers: list[Layer] = []
    for _ in range(c.pick([2, 2, 3, 3, 4, 5, 6])):
        layers.append(padded(c, dims, layers[-1].value.c_out if layers else None))
    return layers


@dataclass
class Tally:
    chains: int = 0
    ways: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    worst: float = 0.0

    def __str__(self) -> str:
        ways = ", ".join(f"{n} {way}" for way, n in self.ways.most_common())
        refused = ", ".join(f"{n} {code}" for code, n in self.refused.items())
        return f"{self.chains} chains, none wrong, worst {self.worst:.1e}: {ways}; refused: {refused}"

    def compare(self, got: Tensor, expected: Tensor, way: str, what: str) -> None:
        assert_close(got, expected, f"{way}, {what}")
        self.ways[way] += 1
        scale = max(1.0, float(expected.abs().max()))
        self.worst = max(self.worst, float((got - expected).abs().max()) / scale)


def borders(layers: Sequence[Layer], sizes: tuple[int, ...]) -> list[Border]:
    """The chain's one convolution and its border, sizes known and free; refusals are raised."""
    steps = tuple(Given(layer.value.geometry, layer.value) for layer in layers)
    values, found = [layer.value for layer in layers], []
    before = [sizes]
    for value in values:
        before.append(value.geometry.size(before[-1]))
    for known in (sizes, (None,) * len(sizes)):
        try:
            whole = chain(values, before[:-1] if known is sizes else None, endless=True)
        except NotFoldable:
            if known is sizes:
                raise
            continue
        found.append(Border(Given(whole.geometry, whole), (steps,), known, sizes))
    return found


def mended(border: Border, way: Way, y: Tensor, x: Tensor) -> Tensor:
    return Correct(border, 1, way).lower(Eager(y), [y, x], y.shape)


def check_chain(tally: Tally, number: int) -> bool:
    """One chain at several sizes; False where there is none."""
    c = Seeded.of(number)
    dims = c.pick([1, 1, 2, 2, 2, 3])
    layers = random_chain(c, dims)
    tried = [tuple(c.pick(SIZES[dims]) for _ in range(dims)) for _ in range(2 * SEVERAL)]
    smallest = [(n,) * dims for n in SIZES[dims]]
    legal = [*legal_spaces(layers, smallest)[:1], *legal_spaces(layers, tried)[:SEVERAL]]
    legal = [sizes for sizes in legal if max(prod(s) for s in sizes_of(layers, sizes)) <= POSITIONS]
    if not legal:
        return False
    what = f"seed {number}: {' then '.join(map(repr, layers))}"
    module = None
    try:
        values = [layer.value for layer in layers]
        module = Bordered(chain(values, endless=True), values)
    except NotFoldable as e:
        tally.refused[e.code] += 1
    for sizes in legal:
        x = torch.randn(2, layers[0].value.c_in, *sizes, dtype=torch.float64)
        expected = in_turn(layers)(x)
        if module is not None:
            with torch.no_grad():
                tally.compare(module(x), expected, "module", f"{what} at {sizes}")
        try:
            found = borders(layers, sizes)
        except NotFoldable as e:
            tally.refused[e.code] += 1
            return False
        for border in found:
            y = border.whole.value(x)
            if border.empty:
                tally.compare(y, expected, "no border", f"{what} at {sizes}")
                continue
            for way in ways(border):
                name = f"{way}" if border.fixed else f"{way} at any size"
                play = max(1.0, float(y.abs().max()))  # what is taken off again may be all there was
                tally.compare(mended(border, way, y, x) / play, expected / play, name, f"{what} at {sizes}")
    tally.chains += 1
    return True


def compare_many(seed: int, wanted: int) -> Tally:
    tally = Tally()
    number = seed * 10**7
    while tally.chains < wanted:
        check_chain(tally, number)
        number += 1
    return tally


@pytest.mark.parametrize("seed", range(4))
def test_a_slice(seed: int) -> None:
    print(tally := compare_many(seed, wanted=examples(90)))
    assert tally.chains == examples(90)
    assert {"module", "kernels", "steps", "steps at any size"} <= set(tally.ways)


@pytest.mark.slow
def test_five_thousand() -> None:
    print(tally := compare_many(seed=9, wanted=5000))
    assert tally.chains == 5000
    assert min(tally.ways.values()) > 20
