"""`benchmarks.runtimes`: what counts as a claim missed, and a case measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks import runtimes
from benchmarks.runtimes import NETWORKS, Asked, figures, measured, missed, summary
from zoo import names

CASE = Asked("resnet-18", "eager", 1, "time", 1, 0.0, exported=True)


def found(*folded: float, **more: Any) -> dict[str, Any]:
    return {"folded": list(folded), "differs": {"folded": 1e-7}, **more}


def test_all_are_in_the_zoo() -> None:
    assert set(NETWORKS) <= set(names()) and set(runtimes.FLOORS) <= set(NETWORKS)


def test_a_claim_is_missed_where_the_whole_interval_is_below_it() -> None:
    assert missed(CASE, found(0.97, 0.95, 0.99)) == []
    assert missed(CASE, found(0.96, 0.95, 0.97)) == ["below 0.98"]
    assert missed(replace(CASE, network="segformer-b0"), found(1.9, 1.8, 1.95)) == ["below 2.0"]
    edsr = replace(CASE, network="edsr-baseline-x4")  # of which more is claimed where files are read
    assert missed(edsr, found(1.5, 1.4, 1.6)) == []
    assert missed(replace(edsr, runtime="openvino"), found(1.5, 1.4, 1.6)) == ["below 1.7"]


def test_another_function_and_what_failed_are_missed() -> None:
    assert missed(CASE, found(2.0, 1.9, 2.1, differs={"folded": 0.1})) == ["another function"]
    assert missed(CASE, {"failed": "fold: it did"}) == ["fold: it did"]
    assert summary({CASE: {"failed": "fold: it did"}}) == 1


def test_below_its_floor_it_is_measured_in_two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = iter([[0.9] * 7, [1.0] * 9])
    monkeypatch.setattr(runtimes, "in_a_process", lambda _: found(ratios={"folded": next(rounds)}))
    got = figures(CASE)
    assert got["folded"] == [1.0, 0.9, 1.0] and (got["rounds"], got["processes"]) == (16, 2)
    assert missed(CASE, got) == []


def test_a_case_of_each_kind() -> None:
    for name in ("eager", "onnxruntime"):
        got = measured(replace(CASE, network="tiny-repvgg", runtime=name, batch=2))
        assert "failed" not in got, got
        assert set(got["ratios"]) == ({"folded"} if name == "eager" else {"folded", "exported"})
        assert all(len(values) >= 7 for values in got["ratios"].values())
        assert max(got["differs"].values()) < 1e-5
    assert measured(replace(CASE, network="none"))["failed"].startswith("original: KeyError")
