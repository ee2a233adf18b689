"""Where models are compared: at sizes that show what others cannot, and at values that are legitimate."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
import torch
from torch import Tensor

import convfold
from convfold.comparison.trials import Inputs, Trial, at_sizes, randomised
from tests.folding import Net, noise

BATCH = {"b": [(0, 0)]}
ALL = {"b": [(0, 0)], "h": [(0, 2)], "w": [(0, 3)]}


def tried(shape: tuple[int, ...], places: Any, lowest: Any = None) -> list[tuple[tuple[int, ...], bool]]:
    trials = at_sizes((noise(*shape),), places, lowest or {})
    return [(tuple(t.inputs[0][0].shape), t.exact) for t in trials if not t.spare]


def shape(inputs: Inputs) -> tuple[int, ...]:
    return tuple(inputs[0][0].shape)


def test_nothing_is_free() -> None:
    random, example = at_sizes(((noise(2, 3),), {}), {}, {})
    assert random.exact and not example.exact and not torch.equal(random.inputs[0][0], example.inputs[0][0])


def test_a_batch_of_one() -> None:
    """Once in float64, and a batch of two of which that is the first item, the example the second."""
    x = noise(1, 3, 7, 6)
    trial, spare = at_sizes(((x,), {}), BATCH, {"b": 1})
    assert trial.part is not None and shape(trial.part) == (1, 3, 7, 6) and spare.spare
    assert torch.equal(trial.inputs[0][0], torch.cat([trial.part[0][0], x]))


def test_a_larger_batch() -> None:
    trials = at_sizes(((noise(4, 3, 7, 6),), {}), BATCH, {"b": 1})
    assert [(shape(t.inputs)[0], t.exact) for t in trials] == [(1, True), (4, False), (5, False)]
    trials = at_sizes(((noise(4, 3, 7, 6),), {}), BATCH, {"b": 3})
    assert [(shape(t.inputs)[0], t.exact) for t in trials] == [(3, True), (4, False), (5, False)]


def test_all_sizes() -> None:
    """Float64 at about a quarter of the positions, and at the smallest; the example in its own type."""
    trials = at_sizes(((noise(1, 3, 64, 50),), {}), ALL, {})
    assert [(shape(t.inputs), t.exact) for t in trials] == [
        ((3, 3, 33, 25), True), ((1, 3, 64, 50), False), ((1, 3, 1, 1), True),
    ]  # fmt: skip


def test_inputs_of_one_batch_and_others() -> None:
    x, y, z = noise(1, 3), noise(1, 4), noise(5)
    (trial, _) = at_sizes(((x, z), {"y": y}), {"b": [(0, 0), (2, 0)]}, {})
    assert [tuple(t.shape) for t in (*trial.inputs[0], trial.inputs[1]["y"])] == [(2, 3), (5,), (2, 4)]
    assert trial.inputs[0][1] is z


@pytest.mark.parametrize(
    ("x", "same"),
    [
        (torch.tensor([0.5, 1.5, -2.0]), False),
        (torch.tensor([1.0, 0.0, 1.0]), True),  # a mask
        (torch.tensor([0.5, -inf, 0.0]), True),  # what is added to scores
        (torch.tensor([3, 4]), True),
        (torch.tensor([True, False]), True),
        (torch.tensor([999.5]), True),  # a step
        (torch.zeros(4), False),
        (torch.ones(2, 3), False),
        (torch.tensor([0.5 + 1j, 2.0]), False),
    ],
)
def test_values_are_legitimate(x: Tensor, same: bool) -> None:
    ((y,), _) = randomised(((x,), {}), torch.Generator().manual_seed(1))
    assert y.shape == x.shape and y.dtype == x.dtype and bool((y == x).all()) == same
    if len(set(x.flatten().tolist())) > 1:
        assert set(y.tolist()) <= set(x.tolist())


def test_the_example_where_others_say_nothing() -> None:
    """Random values that the model makes NaN of, or refuses."""

    def narrow(m: Any, x: Tensor) -> Tensor:
        return x if bool((x == 0.25).all()) else x * float("nan")

    def picky(m: Any, x: Tensor) -> Tensor:
        if not bool((x == 0.25).all()):
            raise ValueError("a quarter please")
        return x

    x = torch.full((1, 4), 0.25)
    for function in (narrow, picky):
        wrong = Net(lambda m, x, function=function: function(m, x) * 1.01)
        for other, passed in ((Net(function), True), (wrong, False)):
            trials = at_sizes(((x,), {}), BATCH, {})
            assert convfold.verify(Net(function), other, x, trials=trials, thorough=False).passed == passed


def test_a_refused_size_leaves_float64_to_the_next() -> None:
    """Odd sizes are illegal here; then float64 runs at the example's."""

    def even(m: Any, x: Tensor) -> Tensor:
        if x.shape[2] % 2:
            raise ValueError("even please")
        return x

    x = noise(2, 3, 8, 9, dtype=torch.float32)
    trials = at_sizes(((x,), {}), ALL, {"h": 2})
    verdict = convfold.verify(Net(even), Net(lambda m, x: x * (1 + 4e-7)), x, trials=trials, thorough=False)
    assert not verdict.passed and [t.split()[0] for t in verdict.tried] == ["example", "smallest"]


def test_items_that_are_not_independent() -> None:
    """The first item of a batch of two is not what a batch of one gives: then that is run, too."""
    x = noise(1, 5, dtype=torch.float32)
    mixing = Net(lambda m, x: x - x.mean(0) + x.std(1, keepdim=True))
    trials = at_sizes(((x,), {}), BATCH, {})
    assert convfold.verify(mixing, mixing, x, trials=trials, thorough=False).passed
    apart = Net(lambda m, x: x.std(1, keepdim=True).expand(-1, 5) * 1.0)
    assert not convfold.verify(mixing, apart, x, trials=trials, thorough=False).passed  # the same, for a batch of one
    assert Trial("a", ((x,), {})).exact
