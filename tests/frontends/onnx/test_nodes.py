"""ONNX's own tests of its operators, each folded between changes of sign: what they ship is what comes out."""

from __future__ import annotations

from collections import Counter
from itertools import starmap

import pytest

from benchmarks.onnx_nodes import Outcome, cases, tried
from convfold.layers import ONNX

#: Read, but nothing that a node test of one call tries: other types, other numbers than zero, products of two signals,
#: an index for every position.
UNTRIED = {"Cast", "CastLike", "Einsum", "GatherElements", "Pad", "Trilu", "Where"}


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    """Of one call."""
    return [tried(*case) for case in cases(1)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the tests' own numbers
def test_functions_written_out_do_too() -> None:
    assert [o.name for o in starmap(tried, cases()) if o.result in ("wrong", "not read")] == []


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_affine_one_reproduces_what_it_ships(outcomes: list[Outcome]) -> None:
    assert [o.name for o in outcomes if o.result == "wrong"] == []
    assert [o for o in outcomes if o.result == "not read"] == []
    found = Counter(o.result for o in outcomes)
    assert found["reproduced"] > 200, found


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_operator_is_among_them(outcomes: list[Outcome]) -> None:
    reproduced = {kind for o in outcomes if o.result == "reproduced" for kind in o.kinds}
    assert sorted(ONNX.keys() - reproduced - UNTRIED) == []
