"""A folded module as ONNX: borders without indices, names as in ``forward``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import convfold


class Tail(nn.Module):
    """Two padded convolutions whose border is mended, and a shuffle; two results by name."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 16, 3, padding=1), nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, image: Tensor) -> dict[str, Any]:
        y = self.b(self.a(image))
        return {"y": y, "parts": (y.relu(), y.sigmoid())}


@pytest.mark.parametrize("shapes", ["static", {"image": {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO}}])
@pytest.mark.parametrize("size", [(24, 25), (33, 40)])
def test_borders(shapes: Any, size: tuple[int, int], tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, x = Tail().eval(), torch.randn(2, 2, *size)
    result = convfold.fold(net, x, dynamic_shapes=shapes, config=convfold.FoldConfig("macs"))
    assert result.report.borders
    result.save(tmp_path / "tail.onnx")
    graph = onnx.load(tmp_path / "tail.onnx").graph
    assert [i.name for i in graph.input] == ["image"]
    assert [o.name for o in graph.output] == ["y", "parts_0", "parts_1"]
    kinds = {node.op_type for node in graph.node}
    assert not kinds & {"ScatterND", "ScatterElements", "Range", "Transpose"}, kinds
    got = onnxruntime.InferenceSession(tmp_path / "tail.onnx").run(None, {"image": x.numpy()})
    with torch.no_grad():
        wanted = torch.utils._pytree.tree_leaves(net(x))
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-4, atol=1e-5)
