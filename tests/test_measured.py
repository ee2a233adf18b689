"""objective="measured": which plan is taken, what is remembered, and that what is run is what is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import convfold
import zoo
from convfold.bench import Interval
from convfold.fold import opened
from convfold.frontends.onnx.running.runtime import Session
from convfold.frontends.torch.to_onnx import to_onnx
from convfold.measured import PLANNED, fastest
from convfold.report import Measured

Compared = Callable[[Sequence[Any]], list[float]]


def sure(ratio: float) -> Interval:
    return Interval(ratio, ratio - 0.05, ratio + 0.05, 0.95)


def test_the_fastest_of_those_that_surely_are_faster() -> None:
    assert fastest({}) == fastest({1: sure(0.9), 2: sure(1.04)}) == PLANNED
    assert fastest({1: sure(1.2), 2: sure(1.3), 3: Interval(2, 0.9, 3, 0.95)}) == 2


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Compared], list[int]]:
    """Nothing is timed: what is said of the calls holds. How many were compared is told; the cache is a folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def patch(ratios: Compared) -> list[int]:
        seen: list[int] = []

        def compare(calls: Sequence[Any], **_: Any) -> Any:
            seen.append(len(calls))
            return type("Fake", (), {"speedups": tuple(map(sure, ratios(calls)))})()

        monkeypatch.setattr("convfold.measured.compare", compare)
        return seen

    return patch


class Tail(nn.Module):
    """A stretch that may be one convolution or two: and one more behind a non-linearity, as large."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
        self.b = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x).relu())  # type: ignore[no-any-return]


def folded(**more: Any) -> Any:
    torch.manual_seed(0)
    config = convfold.FoldConfig("measured", guard=False, **more)
    return convfold.fold(Tail().eval(), (torch.randn(2, 4, 9, 8),), config=config)


def test_others_that_are_faster_are_taken_and_said(timed: Any) -> None:
    timed(lambda calls: [1.5 for _ in calls[1:-1]] + [2.0])
    found = folded().report.measured
    assert isinstance(found, Measured) and found.runtime == "eager"
    assert (found.stretches, found.known, found.changed, found.left) == (2, 0, 2, 0)
    assert "2 distinct stretches timed" in str(found)


def test_the_original_may_be_the_fastest(timed: Any) -> None:
    timed(lambda calls: [3.0, *(1.5 for _ in calls[2:])])
    result = folded()
    assert not result.report.applied and [r.code for r in result.report.refused].count("slower-here") == 2
    again = result.load_original({name: w + 0.1 for name, w in Tail().state_dict().items()})
    assert not again.report.applied and again.report.error.passed


def test_what_was_timed_is_known_the_next_time(timed: Any) -> None:
    seen = timed(lambda calls: [0.5 for _ in calls[1:]])
    first, again = folded(), folded()
    assert len(seen) == first.report.measured.stretches == again.report.measured.known == 2
    assert first.module.code == again.module.code


def test_what_cannot_be_read_is_timed_anew(timed: Any, tmp_path: Path) -> None:
    seen = timed(lambda calls: [0.5 for _ in calls[1:]])
    folded()
    for file in (tmp_path / "cache").rglob("*.json"):
        file.write_text("{")
    assert folded().report.measured.known == 0 and len(seen) == 4


def test_without_a_budget_nothing_is_timed(timed: Any) -> None:
    seen = timed(lambda calls: [2.0 for _ in calls[1:]])
    found = folded(budget=0).report.measured
    assert not seen and (found.stretches, found.left) == (0, 2)
    with pytest.raises(convfold.InvalidInput, match="budget=-1 is no number of seconds"):
        folded(budget=-1)


def test_interrupted_it_goes_on_with_what_it_has(timed: Any) -> None:
    def stop(calls: Sequence[Any]) -> list[float]:
        if seen[1:]:
            raise KeyboardInterrupt
        return [2.0 for _ in calls[1:]]

    seen = timed(stop)
    result = folded()
    found = result.report.measured
    assert found.stopped and (found.stretches, found.changed, found.left) == (1, 1, 1)
    assert result.report.error.passed and "interrupted" in str(found)


def test_it_is_timed() -> None:
    """In earnest, both frameworks."""
    result = folded(budget=3)
    assert result.report.measured.stretches == 2 and result.report.error.passed
    torch.manual_seed(0)
    proto = to_onnx(torch.export.export(Tail().eval(), (torch.randn(1, 4, 9, 8),))).model_proto
    other = convfold.fold(proto, config=convfold.FoldConfig("measured", budget=3))
    assert other.report.measured.runtime == "onnxruntime" and other.report.error.passed
    assert other.report.timed.runtime == "onnxruntime"


@pytest.mark.parametrize("asked", [{"objective": "measured", "budget": 1.0}, {"target": "onnxruntime"}])
def test_what_the_runtime_does_not_run_is_folded_untimed(asked: dict[str, Any]) -> None:
    """ONNX Runtime has no convolution of float64."""
    torch.manual_seed(0)
    program = torch.export.export(Tail().eval().double(), (torch.randn(1, 4, 9, 8).double(),))
    result = convfold.fold(to_onnx(program).model_proto, config=convfold.FoldConfig(**asked))
    assert "onnxruntime" in result.report.timed and "does not run" in result.report.timed
    assert result.report.changed and result.report.error.passed
    assert (found := result.report.measured) is None or (found.stretches == 0 and found.left > 0)


NETWORKS = ("tiny-segformer", "tiny-repvgg", "tiny-edsr", "tiny-fastvit", "tiny-densenet", "tiny-pyramid-pooling")


def alone(model: Any, args: Any, left: bool) -> dict[str, Any]:
    """Every stretch as a model of its own, by the name of its last value: as it was, or as it is planned."""
    config = convfold.FoldConfig("macs", verify=False)
    stages = opened(model, args, config=config)
    names = frozenset(region.outputs[-1] for region in stages.stretches.regions)
    stages = stages.reopened(names if left else frozenset(), quiet=True)
    stages.rewrite()
    planned = {plan.original.outputs[-1]: plan.region for plan in stages.written}
    found = {}
    for region in stages.stretches.regions:
        name = region.outputs[-1]
        found[name] = stages.graph.alone(*dict.fromkeys((region, planned.get(name, region))))
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_a_stretch_alone_is_the_same_function_as_planned(name: str) -> None:
    case = zoo.build(name)
    model, args = case.model.double(), tuple(x.double() for x in case.args)
    before, after = (alone(model, args, left) for left in (True, False))
    done = 0
    for where, pair in before.items():
        if pair is None or after[where] is None:
            continue
        (first, xs), (second, _) = pair, after[where]
        given = dict(zip([n.name for n in first.graph.nodes if n.op == "placeholder"], xs, strict=True))
        names = [n.name for n in second.graph.nodes if n.op == "placeholder"]
        if not given.keys() >= set(names):
            continue
        for a, b in zip(first(*xs), second(*(given[n] for n in names)), strict=True):
            torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9)
        done += 1
    assert done


@pytest.mark.parametrize("name", NETWORKS)
def test_a_stretch_of_a_file_alone_is_the_same_function_as_planned(name: str) -> None:
    case = zoo.build(name)
    proto = to_onnx(torch.export.export(case.model, tuple(case.args), dict(case.kwargs))).model_proto
    before, after = (alone(proto, None, left) for left in (True, False))
    done = 0
    for where, pair in before.items():
        if pair is None or after[where] is None:
            continue
        (first, xs), (second, _) = pair, after[where]
        given = {x.name: v.numpy() for x, v in zip(first.graph.inputs, xs, strict=True)}
        names = [x.name for x in second.graph.inputs]
        if not given.keys() >= set(names):
            continue
        outputs = [Session(m)({n: given[n] for n in ns}) for m, ns in ((first, list(given)), (second, names))]
        for a, b in zip(*outputs, strict=True):
            np.testing.assert_allclose(b, a, rtol=2e-3, atol=2e-3 * float(np.abs(a).max()))
        done += 1
    assert done
