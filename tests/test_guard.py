"""What makes a model slower where it is to run is found by halves and put back, and said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import convfold
from convfold.bench import Interval
from convfold.guard import at_fault
from convfold.report import Timed
from convfold.runtimes import Eager, OnnxRuntime
from tests.targets.test_target import OURS

NAMES = [f"s{i}" for i in range(13)]


@given(st.sets(st.sampled_from(NAMES)))
def test_those_at_fault_are_found(bad: set[str]) -> None:
    asked: list[tuple[str, ...]] = []

    def fine(kept: Sequence[str]) -> bool:
        asked.append(tuple(kept))
        return not bad & set(kept)

    assert set(at_fault(NAMES, fine)) == bad
    assert len(asked) <= 1 + 3 * 4 * len(bad)  # of every level two halves, and what is left of both


def test_what_is_slower_only_together_goes_together() -> None:
    assert at_fault(["a", "b", "c"], lambda kept: len(kept) < 3) == ["a", "b", "c"]
    assert at_fault(["a"], lambda kept: False) == ["a"]
    assert at_fault(["a"], lambda kept: True) == []


class Three(nn.Module):
    """Three stretches that fold, with a non-linearity between."""

    def __init__(self) -> None:
        super().__init__()
        for name in "abc":
            setattr(self, name, nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(self.b(self.a(x).relu()).relu())  # type: ignore[no-any-return]


@pytest.fixture
def ours(tmp_path: Path) -> str:
    path = tmp_path / "ours.json"
    path.write_text(OURS.to_json(), encoding="utf-8")
    return str(path)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[Any], bool]], list[Any]]]:
    """Models of which something holds take twice as long; nothing is timed."""

    def patch(is_slow: Callable[[Any], bool]) -> list[Any]:
        seen = list[Any]()

        def compare(calls: Sequence[Any], **_: Any) -> Any:
            seen.append(calls[1])
            ratio = 0.5 if is_slow(calls[1]) else 1.5
            return type("Fake", (), {"speedups": (Interval(ratio, ratio - 0.1, ratio + 0.1, 0.95),)})()

        for kind in (Eager, OnnxRuntime):
            monkeypatch.setattr(kind, "ready", lambda self, model, *_: model)
        monkeypatch.setattr("convfold.guard.compare", compare)
        return seen

    yield patch


def folded_at(module: nn.Module, name: str) -> bool:
    return any(key.startswith(f"{name}.") and ".folded" in key for key in module.state_dict())


def test_nothing_is_put_back_where_it_is_faster(ours: str, slow: Any) -> None:
    seen = slow(lambda module: False)
    args = (torch.randn(2, 4, 8, 8),)
    result = convfold.fold(Three().eval(), args, config=convfold.FoldConfig(target=ours))
    assert len(seen) == 1
    assert result.report.after.batch_norms == 0
    assert result.report.timed == Timed("eager", 1, 1.5, 1.4, 1.6)
    assert "eager, 1 thread: 1.5 times as fast [1.4, 1.6]" in str(result.report)


def test_the_one_at_fault_is_put_back(ours: str, slow: Any) -> None:
    slow(lambda module: folded_at(module, "b"))
    model, args = Three().eval(), (torch.randn(2, 4, 8, 8),)
    result = convfold.fold(model, args, config=convfold.FoldConfig(target=ours))
    assert [folded_at(result.module, name) for name in "abc"] == [True, False, True]
    assert result.report.after.batch_norms == 1
    assert result.report.error is not None and result.report.error.passed
    assert [r.where for r in result.report.refused if r.code == "slower-here"] == ["b.1"]
    assert isinstance(result.report.timed, Timed) and result.report.timed.speedup == 1.5
    torch.testing.assert_close(result.module(*args), model(*args))


def test_all_that_is_slower_is_put_back(ours: str, slow: Any) -> None:
    slow(lambda module: any(folded_at(module, name) for name in "abc"))
    result = convfold.fold(Three().eval(), (torch.randn(2, 4, 8, 8),), config=convfold.FoldConfig(target=ours))
    assert not result.report.changed
    assert result.report.timed is None
    assert sum(r.code == "slower-here" for r in result.report.refused) == 3


@pytest.mark.parametrize("how", [{"guard": False}, {"objective": "macs"}, {"target": None}])
def test_not_timed_where_it_is_not_asked_for(how: dict[str, Any], ours: str, slow: Any) -> None:
    seen = slow(lambda module: True)
    config = convfold.FoldConfig(**{"target": ours, **how})
    result = convfold.fold(Three().eval(), (torch.randn(2, 4, 8, 8),), config=config)
    assert not seen
    assert result.report.timed is None
    assert result.report.after.batch_norms == 0


def test_a_runtime_that_is_not_installed(ours: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> Any:
        raise convfold.InvalidInput("runtime 'eager' is not installed: pip install torch")

    monkeypatch.setattr(Eager, "ready", missing)
    result = convfold.fold(Three().eval(), (torch.randn(2, 4, 8, 8),), config=convfold.FoldConfig(target=ours))
    assert result.report.after.batch_norms == 0
    assert "not timed: runtime 'eager' is not installed" in str(result.report)


def test_onnx_files(tmp_path: Path, slow: Any) -> None:
    path, ours = tmp_path / "net.onnx", tmp_path / "ours.json"
    ours.write_text(OURS.to_json().replace('"eager"', '"onnxruntime"'), encoding="utf-8")
    torch.onnx.export(Three().eval(), (torch.randn(2, 4, 8, 8),), dynamo=True, verbose=False, optimize=False).save(path)
    seen = slow(lambda model: isinstance(model, onnx.ModelProto) and _norms(model) < 3)
    result = convfold.fold(path, config=convfold.FoldConfig(target=str(ours)))
    assert _norms(onnx.load(path)) == 3 == _norms(result.proto)
    assert seen
    assert not result.report.changed
    assert any(r.code == "slower-here" for r in result.report.refused)


def _norms(model: onnx.ModelProto) -> int:
    return sum(node.op_type == "BatchNormalization" for node in model.graph.node)
