"""What differs on a GPU: calls that return before they are done, half precision, channels last. Skipped without one."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

import convfold
from convfold import calibration
from convfold.bench import compare
from convfold.calibration import calibrate
from convfold.calibration.samples import KINDS
from convfold.runtimes import runtime
from convfold.targets import target
from tests.folding import randomised

WHY = "no CUDA device is here; `python -m benchmarks.gpu` stands ready"
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason=WHY)


class Net(nn.Module):
    """A wide pair with a border that depends on data, a branch, an upsampling, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(8, 64, 3, padding=1), nn.Conv2d(64, 8, 3, padding=1)
        self.norm, self.side = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)
        self.up = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.up((self.norm(self.b(self.a(x))) + self.side(x)).relu())
        return y


def net(**how: object) -> tuple[nn.Module, Tensor]:
    m = randomised(Net()).eval().to("cuda", **how)  # type: ignore[call-overload]
    return m, torch.randn(2, 8, 24, 20).to("cuda", **how)  # type: ignore[call-overload]


@on_gpu
@pytest.mark.parametrize("objective", ["time", "macs"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_model_is_folded_where_it_lies(objective: str, dtype: torch.dtype, layout: torch.memory_format) -> None:
    m, x = net(dtype=dtype, memory_format=layout)
    result = convfold.fold(m, (x,), config=convfold.FoldConfig(objective))
    assert result.report.changed
    assert result.report.error is not None and result.report.error.passed
    for p in result.module.parameters():
        assert p.device == x.device and p.dtype == dtype
    assert result.module(x).is_contiguous(memory_format=layout) == m(x).is_contiguous(memory_format=layout)


@on_gpu
@pytest.mark.parametrize("name", ["eager", "inductor"])
def test_a_call_lasts_until_it_is_done(name: str) -> None:
    m, x = net()
    run = runtime(name, "cuda")
    folded = convfold.fold(m, (x,)).module
    found = compare([run.ready(m, (x,), {}), run.ready(folded, (x,), {})], seconds=0.5, threads=1)
    assert all(t.median > 0 for t in found.timings)
    assert run.breakdown(m, (x,), {})


@on_gpu
def test_a_target_of_this_gpu_is_made_and_planned_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "KINDS", {kind: KINDS[kind] for kind in ("dense", "product", "copy", "view")})
    path = tmp_path / "gpu.json"
    made = calibrate("eager", path, device="cuda")
    assert made.device == "cuda" and torch.cuda.get_device_name() in made.machine
    m, x = net()
    result = convfold.fold(m, (x,), config=convfold.FoldConfig(target=str(path)))
    assert result.report.timed is not None and not isinstance(result.report.timed, str)


def test_time_is_taken_when_the_device_is_done() -> None:
    run, again = runtime("eager", "cuda"), convfold.runtimes.Eager("cuda", waits=False)
    with patch.object(torch.accelerator, "synchronize") as done:
        run.ready(nn.Identity(), (torch.ones(1),), {})()
        assert done.call_count == 1
        again.ready(nn.Identity(), (torch.ones(1),), {})()
        assert done.call_count == 1
        again.wait()
        assert done.call_count == 2


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a device beside the CPU")
def test_a_device_that_is_not_here_is_said(tmp_path: Path) -> None:
    with pytest.raises(convfold.InvalidInput, match=r"^device 'cuda' is not here; 'cpu' can be timed$"):
        calibrate("eager", tmp_path / "mine.json", device="cuda")
    with pytest.raises(convfold.InvalidInput, match="onnxruntime is timed on a CPU"):
        calibrate("onnxruntime", tmp_path / "mine.json", device="cuda")
    assert not list(tmp_path.iterdir())
    assert target("eager").device == "cpu"
