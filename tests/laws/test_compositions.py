"""Random compositions in 1-D, 2-D and 3-D against torch, in float64: none may be wrong, border included.

Every chain is run as F.convNd and F.conv_transposeNd run it, one after the other, and as the one value that
its composition gives. What is refused is counted by reason, not compared; the generator sees to it that most
is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch

from convfold.algebra.convolution import Convolution
from convfold.errors import NotFoldable
from tests.laws.generate import (
    Chooser,
    Layer,
    Seeded,
    conv,
    conv_transpose,
    convolution,
    in_turn,
    legal_spaces,
)
from tests.laws.oracle import assert_close

#: The sizes at which a fold made for any size is compared.
SEVERAL = 3
LARGEST = {1: 19, 2: 9, 3: 5}


def second_unpadded(c: Chooser, dims: int) -> list[Layer]:
    first = c.pick([conv, conv, conv_transpose, convolution])(c, dims)
    return [first, conv(c, dims, first.value.c_out, padding="none")]


def first_padded_in_full(c: Chooser, dims: int) -> list[Layer]:
    first = conv(c, dims, padding="full", biased=False)
    return [first, c.pick([conv, conv_transpose, convolution])(c, dims, first.value.c_out)]


def first_without_reach(c: Chooser, dims: int) -> list[Layer]:
    first = conv(c, dims, padding="none", biased=False, pointwise=True, stride=c.pick([1, 3]))
    return [first, c.pick([conv, conv_transpose])(c, dims, first.value.c_out)]


def from_transposed(c: Chooser, dims: int) -> list[Layer]:
    first = conv_transpose(c, dims, padding="none", biased=False)
    return [first, c.pick([conv, conv_transpose])(c, dims, first.value.c_out)]


def second_pointwise(c: Chooser, dims: int) -> list[Layer]:
    first = c.pick([conv, conv_transpose, convolution])(c, dims)
    return [first, conv(c, dims, first.value.c_out, padding="none", pointwise=True)]


def three(c: Chooser, dims: int) -> list[Layer]:
    chain = c.pick([second_unpadded, second_pointwise, from_transposed])(c, dims)
    return [*chain, conv(c, dims, chain[-1].value.c_out, padding="none", stride=2)]


def any_two(c: Chooser, dims: int) -> list[Layer]:
    first = c.pick([conv, conv_transpose])(c, dims)
    return [first, c.pick([conv, conv_transpose])(c, dims, first.value.c_out)]


KINDS: list[Callable[[Chooser, int], list[Layer]]] = [
    second_unpadded,
    first_padded_in_full,
    first_without_reach,
    from_transposed,
    second_pointwise,
    three,
    any_two,
]


@dataclass
class Tally:
    folded: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    comparisons: int = 0

    def __str__(self) -> str:
        folded, refused = (
            f"{count.total()} ({', '.join(f'{n} {what}' for what, n in sorted(count.items()))})"
            for count in (self.folded, self.refused)
        )
        return f"{self.comparisons} comparisons, none wrong; folded: {folded}; refused: {refused}"


def compose(chain: list[Layer], space: tuple[int, ...] | None) -> Convolution:
    """The chain as one value, exact at any size or at ``space``."""
    value = chain[0].value
    for layer in chain[1:]:
        value = layer.value @ value if space is None else layer.value.after(value, space)
    return value


def compare_many(seed: int, wanted: int) -> Tally:
    """Go on until ``wanted`` compositions have folded; raises at the first wrong one, and says its seed."""
    tally = Tally()
    for number in range(seed * 10**7, (seed + 1) * 10**7):
        c = Seeded.of(number)
        dims, kind = c.pick([1, 1, 2, 2, 3]), c.pick(KINDS)
        chain = kind(c, dims)
        tried = [tuple(c.integer(1, LARGEST[dims]) for _ in range(dims)) for _ in range(2 * SEVERAL)]
        legal = legal_spaces(chain, tried)[:SEVERAL]
        if not legal:
            continue
        try:
            folded, compared, scope = compose(chain, None), legal, "at any size"
        except NotFoldable:
            try:
                folded, compared, scope = compose(chain, legal[0]), legal[:1], "at a known size"
            except NotFoldable as refusal:
                tally.refused[refusal.code] += 1
                continue
        for space in compared:
            x = torch.randn(1, folded.c_in, *space, dtype=torch.float64)
            what = f"seed {number} at {space}, {scope}: {' then '.join(map(repr, chain))}"
            assert_close(folded(x), in_turn(chain)(x), what)
            tally.comparisons += 1
        tally.folded[f"{dims}-D {scope}"] += 1
        if tally.folded.total() == wanted:
            break
    return tally


def test_a_slice() -> None:
    print(tally := compare_many(seed=0, wanted=1500))
    assert tally.folded.total() == 1500
    assert tally.refused.total() < tally.folded.total()


@pytest.mark.slow
def test_twenty_thousand() -> None:
    print(tally := compare_many(seed=1, wanted=20_000))
    assert tally.folded.total() == 20_000
    assert min(tally.folded.values()) > 100  # every number of axes, at any size and at known ones
