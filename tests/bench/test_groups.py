"""Every runtime, batch and number of threads has its row, and the models come back as they were."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convfold.bench import Entrant, Row, measure
from convfold.errors import InvalidInput
from convfold.frontends.torch.running.state import State
from convfold.inputs import at_batch
from tests.stateful import Counts, snapshot


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()


def image() -> Tensor:
    return torch.randn(1, 3, 7, 6, generator=torch.Generator().manual_seed(0))


def entrant(word: str, model: nn.Module) -> Entrant:
    return Entrant(word, model, model)


def rows(*entrants: Entrant, batches: tuple[int, ...] = (), **asked: Any) -> list[Row]:
    given = ((image(),), dict[str, Any]())
    inputs = {n: at_batch(given, n) for n in batches} or {None: given}
    return list(measure(entrants, inputs, seconds=0, **asked))


def test_a_row_for_everything() -> None:
    before = torch.get_num_threads()
    seen = list[tuple[int, int]]()

    class Seen(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append((len(x), torch.get_num_threads()))
            return x

    found = rows(entrant("a", net()), entrant("b", Seen()), batches=(1, 4), threads=(1, 2))
    assert [(r.batch, r.threads) for r in found] == [(1, 1), (1, 2), (4, 1), (4, 2)]
    assert {r.runtimes for r in found} == {("eager", "eager")}
    assert [r.title for r in found][:2] == ["eager, batch 1, 1 thread", "eager, batch 1, 2 threads"]
    assert set(seen[2:]) == {(n, t) for n in (1, 4) for t in (1, 2)}
    assert torch.get_num_threads() == before


def test_more_than_two() -> None:
    (row,) = rows(*(entrant(word, net()) for word in "abc"))
    assert len(row.comparison.timings) == 3 and len(row.comparison.speedups) == 2
    first, *others = row.to_dict("abc")["models"]
    assert first["speedup"] is None
    assert all(m["speedup"]["low"] <= m["speedup"]["median"] <= m["speedup"]["high"] for m in others)


def test_exported_once_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = sys.modules["convfold.bench.groups"]
    exported: list[Any] = []
    export = groups.onnx_model  # type: ignore[attr-defined]
    monkeypatch.setattr(groups, "onnx_model", lambda *given: exported.append(given) or export(*given))
    found = rows(entrant("a", net()), batches=(2,), runtimes=("onnxruntime", "openvino"), threads=(1, 2))
    assert [r.title for r in found] == [
        f"{name}, batch 2, {t}" for name in ("onnxruntime", "openvino") for t in ("1 thread", "2 threads")
    ]
    assert len(exported) == 1


def test_exporting_is_no_change_of_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or else every call were timed by itself, after its state was put back."""
    monkeypatch.setattr(State, "start_over", None)
    assert rows(entrant("a", net()), runtimes=("onnxruntime", "eager"))


@pytest.mark.parametrize("breakdown", [False, True])
def test_every_run_is_the_first(breakdown: bool) -> None:
    seen = list[float]()

    class Says(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.counts = Counts()

        def forward(self, x: Tensor) -> Tensor:
            y = self.counts(x)
            seen.append(float(self.counts.n))
            return y

    model = Says().eval()
    before = snapshot(model)
    rows(entrant("a", model), batches=(1, 2), breakdown=breakdown)
    assert len(seen) > 10 and len(set(seen)) == 1
    assert snapshot(model) == before


def test_a_breakdown_of_each_model() -> None:
    (row,) = rows(entrant("a", net()), entrant("b", nn.ReLU()), breakdown=True)
    convolutional, other = row.breakdowns
    assert any("conv" in s.kind for s in convolutional) and not any("conv" in s.kind for s in other)
    data = row.to_dict("ab")
    assert data["models"][0]["breakdown"][0].keys() == {"kind", "calls", "seconds"}


class Fixed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(1, 3, 7, 6)


def test_what_does_not_run_is_said_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["convfold.bench.groups"], "compare", None)
    with pytest.raises(InvalidInput, match=r"^b does not run on these inputs at batch 3: shape"):
        rows(entrant("a", net()), entrant("b", Fixed()), batches=(1, 3))
    onnx = Entrant("file.onnx", Path("file.onnx"), None)
    for name in ("eager", "inductor"):
        with pytest.raises(InvalidInput, match=rf"runtime '{name}' runs PyTorch models, not file\.onnx; take onnxrun"):
            rows(entrant("a", net()), onnx, runtimes=("onnxruntime", name))
    with pytest.raises(InvalidInput, match="unknown runtime 'tvm'"):
        rows(entrant("a", net()), runtimes=("tvm",))


def test_what_cannot_be_exported_is_one_line() -> None:
    class Branches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(
        InvalidInput, match=r"^a does not run on these inputs in openvino: torch\.onnx\.export takes no"
    ) as e:
        rows(entrant("a", Branches()), runtimes=("openvino",))
    assert "\n" not in str(e.value)
