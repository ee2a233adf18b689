"""Where the time goes, by each runtime's own profiler: operators that are there, as often as they are called."""

from __future__ import annotations

import sys
import tempfile
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch
from torch import nn

from convfold.arguments import RUNTIMES as WORDS
from convfold.errors import InvalidInput
from convfold.runtimes import RUNTIMES, Share, runtime
from convfold.runtimes.base import shares
from convfold.runtimes.exported import onnx_model

NET = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Softmax(1), nn.Conv2d(8, 4, 1), nn.Softmax(1)).eval()
ARGS = (torch.randn(1, 3, 9, 8, generator=torch.Generator().manual_seed(0)),)

#: What each calls a convolution and a softmax.
NAMES = {"eager": ("aten::_softmax", "aten::conv2d"), "onnxruntime": ("Softmax", "Conv"),
         "openvino": ("Softmax", "Convolution")}  # fmt: skip


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(sys.modules["convfold.runtimes.base"], "version", version)
    with pytest.raises(InvalidInput, match="runtime 'openvino' is not installed: pip install openvino"):
        runtime("openvino").check(NET)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_inputs_that_do_not_match(name: str) -> None:
    exported = onnx_model(NET, ARGS, {})
    with pytest.raises(InvalidInput, match="the model takes 1 inputs, got 2"):
        runtime(name).ready(exported, (*ARGS, *ARGS), {}, 1)


def test_each_has_a_word() -> None:
    assert tuple(RUNTIMES) == WORDS


@pytest.mark.parametrize("name", NAMES)
def test_operators_of_the_model(name: str) -> None:
    found = {s.kind: s for s in runtime(name).breakdown(NET, ARGS, {}, 1)}
    for kind in NAMES[name]:
        assert found[kind].calls == 2, found
    assert sum(s.seconds for s in found.values()) > 0
    assert [s.seconds for s in found.values()] == sorted((s.seconds for s in found.values()), reverse=True)


@pytest.mark.slow  # the compiler's: half a minute
def test_kernels_of_a_compiled_model() -> None:
    compiled = runtime("inductor")
    call = compiled.ready(NET, ARGS, {}, 1)
    with torch.inference_mode():
        torch.testing.assert_close(call(), NET(*ARGS))
    found = {s.kind: s for s in compiled.breakdown(NET, ARGS, {}, 1)}
    assert any("fused" in kind and "softmax" in kind for kind in found), found
    assert not any(kind.startswith("graph_") for kind in found)


def test_nothing_of_the_profile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert runtime("onnxruntime").breakdown(NET, ARGS, {}, 1)
    assert list(tmp_path.iterdir()) == []


def test_every_run_starts_over() -> None:
    class Once(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert not called
            called.append(x)
            return x * 2

    called: list[torch.Tensor] = []
    found = runtime("eager").breakdown(Once(), ARGS, {}, 1, called.clear)
    assert [s.calls for s in found if s.kind == "aten::mul"] == [1]


def test_of_one_run() -> None:
    events = [("a", 1, 0.5), ("b", 2, 3.0), ("a", 1, 0.5)] * 2
    assert shares(events, runs=2) == [Share("b", 2, 3.0), Share("a", 2, 1.0)]
