"""A target is a value: what it predicts is its prices times its terms, and a file gives back what was written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import convfold
from convfold.algebra.operation import VIEW, Sums, Work
from convfold.plan.cost import Prices
from convfold.plan.machine import Machine
from convfold.runtimes import RUNTIMES
from convfold.targets import Target, shipped, target
from convfold.targets.terms import CACHE, TERMS, kind_of, terms

PRICES = {"copy": {"calls": 1e-6, "near": 1e-10, "far": 2e-10}, "dense": {"calls": 2e-6, "lanes": 1e-11}}
OURS = Target("ours", "eager", "cpu", 1, "float32", "a machine", {"torch": "2"}, PRICES, {"copy": 0.1})

DENSE = Work(9 * 3 * 5 * 7, 200, "convolution", Sums(1, 3, 5, 9, 7))


def test_a_price_for_each_term_of_its_kind() -> None:
    assert OURS.attoseconds(DENSE, 4) == 2_000_000_000_000 + 10_000_000 * (4 * 16 * 9 * 7)
    moved = Work(0, CACHE // 4 + 10)
    assert OURS.attoseconds(moved, 4) == 10**12 + 10**8 * CACHE + 2 * 10**8 * 40


def test_kinds_it_knows_nothing_of_are_copies() -> None:
    assert OURS.attoseconds(VIEW, 4) == 10**12


def test_sums_are_the_same_in_every_order() -> None:
    prices = Prices("time", OURS)
    one, other = prices.all([DENSE, VIEW], 4), prices.all([VIEW, DENSE], 4)
    assert one == other == prices.all([DENSE], 4) + prices.all([VIEW], 4)


@pytest.mark.parametrize(
    ("sums", "kind"),
    [
        (Sums(1, 3, 5, 9, 7), "dense"),
        (Sums(1, 3, 5, 1, 7), "pointwise"),
        (Sums(4, 2, 1, 9, 7), "grouped"),
        (Sums(4, 1, 1, 9, 7), "depthwise"),
    ],
)
def test_kinds_of_convolution(sums: Sums, kind: str) -> None:
    assert kind_of(Work(1, 1, "convolution", sums)) == kind


def test_what_is_counted() -> None:
    found = dict(terms(DENSE, 4))
    assert set(found) <= set(TERMS)
    assert found["macs"] <= found["lanes"]
    assert found["near"] + found["far"] == 4 * DENSE.moved
    permuted = dict(terms(Work(0, 0, "permute", carried=50), 4))
    assert permuted["near"] == 200


@pytest.mark.parametrize("costs", [OURS, Machine(1e9, 1e9, 1e-6)])
def test_dearer_multiply_adds(costs: Target | Machine) -> None:
    assert costs.dearer(4).attoseconds(DENSE, 4) > costs.attoseconds(DENSE, 4)
    assert costs.dearer(4).attoseconds(VIEW, 4) == costs.attoseconds(VIEW, 4)


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "ours.json"
    path.write_text(OURS.to_json(), encoding="utf-8")
    assert target(str(path)) == OURS


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format": 99}, "not a target of format"),
        ({"more": 1}, "not a target of format"),
        ({"prices": []}, "no table"),
        ({"prices": {"copy": {"calls": -1e-6}}}, "is no price"),
        ({"prices": {"copy": {"calls": "x"}}}, "is no price"),
        ({"prices": {"copy": {"steps": 1e-6}}}, "is no price"),
        ({"prices": {"dense": {"calls": 1e-6}}}, "no price for 'copy'"),
    ],
)
def test_a_file_of_something_else(change: dict[str, object], why: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(json.loads(OURS.to_json()) | change), encoding="utf-8")
    with pytest.raises(convfold.InvalidInput, match=why):
        target(str(path))


def test_no_file_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(convfold.InvalidInput, match="no target can be read"):
        target(str(tmp_path / "none.json"))
    (tmp_path / "text.json").write_text("{", encoding="utf-8")
    with pytest.raises(convfold.InvalidInput, match="no target can be read"):
        target(str(tmp_path / "text.json"))
    with pytest.raises(convfold.InvalidInput, match="unknown target 'abacus'"):
        target("abacus")


@pytest.mark.parametrize("name", shipped())
def test_those_that_are_shipped(name: str) -> None:
    it = target(name)
    assert it.name == name
    assert it is target(name.removesuffix("-cpu"))
    assert it.runtime in RUNTIMES
    assert it.versions
    assert all(any(own.values()) for kind, own in it.prices.items() if kind not in ("view", "bias"))


def test_a_fold_is_planned_by_it(tmp_path: Path) -> None:
    """Where a multiply-add costs nothing and a call a second, what is fewer calls is folded, and nothing else."""
    path = tmp_path / "calls.json"
    free = replace(OURS, prices={"copy": {"calls": 0.5}, "dense": {"calls": 0.5}, "pointwise": {"calls": 0.5}})
    path.write_text(free.to_json(), encoding="utf-8")
    model = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)).eval()
    args = (torch.randn(1, 4, 8, 8),)
    config = convfold.FoldConfig(target=str(path), guard=False)
    assert convfold.fold(model, args, config=config).report.after.ops == 1
    with pytest.raises(convfold.InvalidInput, match="unknown target"):
        convfold.FoldConfig(target="abacus")
