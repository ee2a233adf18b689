"""Each law by itself: the form it gives of a step computes what the step does, and what it refuses, it says why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from convfold.algebra.apply import Apply
from convfold.algebra.convolution import Convolution
from convfold.algebra.joins import Concat, Sum
from convfold.algebra.layout import Layout, Select, Slice
from convfold.algebra.operation import Operation
from convfold.algebra.realisation import Convolve
from convfold.algebra.spatial import Flip, Pad, Resize
from convfold.errors import NotFoldable
from convfold.plan.deferred import Given
from convfold.plan.evaluation import Computed, computed
from convfold.plan.form import Form
from convfold.plan.rules import carry, law_of
from convfold.plan.search import Search
from convfold.region import Node, Region, Signal
from tests.folding import noise
from tests.laws.oracle import assert_close

MAPS = {"carried": ((0, 0), (1, 1)), "axis": 1}
FLIP = Flip(sizes=((7, 6), (7, 6)), axes=(2, 3), origin="flip", **MAPS)  # type: ignore[arg-type]
DOUBLE = Resize(sizes=((7, 6), (14, 12)), mode="linear", origin="resize", **MAPS)  # type: ignore[arg-type]
ZEROS = Pad(sizes=((7, 6), (9, 8)), pads=(1, 1, 1, 1), origin="pad", **MAPS)  # type: ignore[arg-type]


def conv(c_in: int, c_out: int, k: int = 1, groups: int = 1, seed: int = 1, bias: bool = True) -> Apply:
    kernel = noise(c_out, c_in // groups, k, k, seed=seed)
    op = Convolution(kernel, noise(c_out, seed=seed + 50) if bias else None, groups, padding=k // 2)
    return Apply(Given(op.geometry, op, f"conv{seed}"), 1, Convolve())


def region(*steps: tuple[str, Operation, Sequence[str], tuple[int, ...]]) -> Region:
    inputs = [Node(name, None, (), Signal((2, 4, 7, 6), itemsize=8)) for name in ("x", "y")]
    nodes = [Node(name, step, tuple(read), Signal(shape, itemsize=8), name) for name, step, read, shape in steps]
    return Region((*inputs, *nodes), (steps[-1][0],))


def inlined(given: Region, border: str = "exact") -> tuple[Search, Node, list[Form]]:
    """The last step with every step before it inlined: its forms are of the inputs alone."""
    search = Search(given, border=border)
    forms: dict[str, list[Form]] = {n.name: [search.leaf(n.name)] for n in given.inputs}
    for node in given.steps:
        forms[node.name] = carry(node, [forms[i][0] for i in node.inputs], search.context)
    return search, given.steps[-1], forms[given.steps[-1].name]


def evaluated(value: Computed, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """The steps of a value, one by one."""
    nodes: list[Node] = []

    def add(v: Computed) -> str:
        if v.operation is None:
            assert v.name is not None
            return v.name
        read = tuple(map(add, v.inputs))
        nodes.append(Node(f"v{len(nodes)}", v.operation, read, v.signal))
        return nodes[-1].name

    y = add(value)
    leaves = [Node(name, None, (), Signal(tuple(t.shape))) for name, t in inputs.items()]
    return Region((*leaves, *nodes), (y,)).evaluate(inputs)[y]


EXACT: dict[str, tuple[str, Region]] = {
    "an operator on an operator": (
        "distribute",
        region(("a", conv(4, 5), "x", (2, 5, 7, 6)), ("b", conv(5, 3, 3), "a", (2, 3, 7, 6))),
    ),
    "an operator beyond a border": (
        "distribute",
        region(("a", conv(4, 5, 3), "x", (2, 5, 7, 6)), ("b", conv(5, 3, 3), "a", (2, 3, 7, 6))),
    ),
    "an operator on a sum": (
        "distribute",
        region(("s", Sum((1, -1)), "xy", (2, 4, 7, 6)), ("b", conv(4, 3, 3), "s", (2, 3, 7, 6))),
    ),
    "an operator on a concat": (
        "distribute",
        region(("c", Concat(1), "xy", (2, 8, 7, 6)), ("b", conv(8, 4, 3, groups=2), "c", (2, 4, 7, 6))),
    ),
    "a sum of operators on one value": (
        "combine",
        region(
            ("a", conv(4, 5, 3), "x", (2, 5, 7, 6)),
            ("b", conv(4, 5, seed=2), "x", (2, 5, 7, 6)),
            ("s", Sum((1, -1)), "ab", (2, 5, 7, 6)),
        ),
    ),
    "a concat of operators": (
        "concat",
        region(
            ("a", conv(4, 5, 3), "x", (2, 5, 7, 6)),
            ("b", conv(4, 2, seed=2), "y", (2, 2, 7, 6)),
            ("c", Concat(1), "ab", (2, 7, 7, 6)),
        ),
    ),
    "some rows of an operator": (
        "rows",
        region(("a", conv(4, 6, 3), "x", (2, 6, 7, 6)), ("r", Slice(1, 1, 4), "a", (2, 3, 7, 6))),
    ),
    "some columns of what reads neighbours": (
        "rows",
        region(("a", conv(4, 6, 3), "x", (2, 6, 7, 6)), ("r", Slice(3, 1, 5), "a", (2, 6, 7, 4))),
    ),
    "every second row of what reads neighbours": (
        "rows",
        region(("a", conv(4, 6, 3), "x", (2, 6, 7, 6)), ("r", Slice(2, 1, None, 2), "a", (2, 6, 3, 6))),
    ),
    "every second channel": (
        "rows",
        region(("a", conv(4, 6, 3), "x", (2, 6, 7, 6)), ("r", Slice(1, 0, None, 2), "a", (2, 3, 7, 6))),
    ),
    "one row": (
        "rows",
        region(("a", conv(4, 6, 3), "x", (2, 6, 7, 6)), ("r", Select(2, 3, 7), "a", (2, 6, 6))),
    ),
    "one channel": (
        "rows",
        region(("a", conv(4, 6, 3), "x", (2, 6, 7, 6)), ("r", Select(1, 3, 6), "a", (2, 7, 6))),
    ),
    "operators on slices of one value": (
        "combine",
        region(
            ("p", Slice(3, 0, None, 2), "x", (2, 4, 7, 3)),
            ("q", Slice(3, 1, None, 2), "x", (2, 4, 7, 3)),
            ("a", conv(4, 5, 3), "p", (2, 5, 7, 3)),
            ("b", conv(4, 5, seed=2), "q", (2, 5, 7, 3)),
            ("s", Sum((1, -1)), "ab", (2, 5, 7, 3)),
        ),
    ),
    "some parts of a concat": (
        "rows",
        region(
            ("a", conv(4, 5), "x", (2, 5, 7, 6)),
            ("c", Concat(1), "ay", (2, 9, 7, 6)),
            ("r", Slice(1, 5, 9), "c", (2, 4, 7, 6)),
        ),
    ),
    "a map of space behind an operator": (
        "commute",
        region(("a", conv(4, 5), "x", (2, 5, 7, 6)), ("f", FLIP, "a", (2, 5, 7, 6))),
    ),
    "a pointwise operator behind a resize": (
        "distribute",
        region(("d", DOUBLE, "x", (2, 4, 14, 12)), ("a", conv(4, 3), "d", (2, 3, 14, 12))),
    ),
    "a view behind an operator": (
        "commute",
        region(
            ("a", conv(4, 5), "x", (2, 5, 7, 6)),
            ("v", Layout.view((2, 5, 7, 6), (2, 5, 42), (2, 5, 42)), "a", (2, 5, 42)),
        ),
    ),
}


@pytest.mark.parametrize("what", EXACT)
def test_the_form_computes_what_the_step_does(what: str) -> None:
    law, given = EXACT[what]
    search, node, forms = inlined(given)
    assert law_of(node) == law
    inputs = {name: noise(2, 4, 7, 6, seed=i) for i, name in enumerate(("x", "y"), start=7)}
    expected = given.evaluate(inputs)[node.name]
    for form in forms:
        assert {t.leaf for terms in form.blocks for t in terms} <= {"x", "y"}
        assert_close(evaluated(computed(form, node.signal, search.context), inputs), expected, what)


REFUSED: dict[str, tuple[str, dict[str, Any], Region]] = {
    "a bias before zeros": (
        "ghost-is-constant",
        {},
        region(("z", ZEROS, "x", (2, 4, 9, 8)), ("a", conv(4, 3), "z", (2, 3, 9, 8))),
    ),
    "data beyond a border that is to stay": (
        "ghost-depends-on-data",
        {"border": "refuse"},
        region(("a", conv(4, 5, 3), "x", (2, 5, 7, 6)), ("b", conv(5, 3, 3), "a", (2, 3, 7, 6))),
    ),
    "a reader of neighbours behind a resize": (
        "layout-mixes-channels",
        {},
        region(
            ("a", conv(4, 4, 3), "x", (2, 4, 7, 6)),
            ("d", DOUBLE, "a", (2, 4, 14, 12)),
            ("b", conv(4, 3, 3), "d", (2, 3, 14, 12)),
        ),
    ),
    "concats along two axes": (
        "partition-differs",
        {},
        region(("c", Concat(1), "xy", (2, 8, 7, 6)), ("d", Concat(2), "cc", (2, 8, 14, 6))),
    ),
    "some rows of what has no operator": (
        "partition-differs",
        {},
        region(("c", Concat(1), "xy", (2, 8, 7, 6)), ("r", Slice(1, 2, 6), "c", (2, 4, 7, 6))),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_says_why(what: str) -> None:
    code, options, given = REFUSED[what]
    if what == "a bias before zeros":  # it stays behind them: to go before, it must be placed
        _, _, (form,) = inlined(given)
        (term,) = form.blocks[0]
        with pytest.raises(NotFoldable) as refusal:
            term.placed(0)
    else:
        with pytest.raises(NotFoldable) as refusal:
            inlined(given, **options)
    assert refusal.value.code == code
