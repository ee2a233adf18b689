"""Many a file calls its result "output": it is a value like others, and what computes it is folded."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

import convfold


class Takes(nn.Module):
    """Its input is called as torch calls what reads the results."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))

    def forward(self, output: Tensor) -> Tensor:
        return self.layers(output)  # type: ignore[no-any-return]


def test_in_onnx(tmp_path: Path) -> None:
    path, x = tmp_path / "net.onnx", torch.randn(1, 2, 8, 8)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)).eval()
    torch.onnx.export(model, (x,), path, dynamo=True, verbose=False, output_names=["output"])
    assert [y.name for y in onnx.load(path).graph.output] == ["output"]
    report = convfold.fold(path).report
    assert (report.before.layers, report.after.layers) == (3, 2)


def test_in_torch() -> None:
    report = convfold.fold(Takes().eval(), (torch.randn(1, 2, 8, 8),)).report
    assert report.after.ops == 1


def test_onnx_is_timed(tmp_path: Path) -> None:
    """With inputs drawn for the model as it was: what is written is in its place by then."""
    path = tmp_path / "net.onnx"
    model = nn.Sequential(nn.Conv2d(2, 64, 3), nn.Conv2d(64, 2, 3)).eval()
    torch.onnx.export(model, (torch.randn(1, 2, 64, 64),), path, dynamo=True, verbose=False)
    report = convfold.fold(path, config=convfold.FoldConfig(target="onnxruntime")).report
    assert getattr(report.timed, "runtime", None) == "onnxruntime"
