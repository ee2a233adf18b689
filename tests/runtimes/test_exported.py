"""PyTorch models for runtimes of ONNX: as they are saved, so that what was folded is as fast there."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

import convfold
from convfold.frontends.onnx.running.runtime import Session
from convfold.runtimes import runtime
from convfold.runtimes.exported import onnx_model


def folded() -> tuple[nn.Module, torch.Tensor]:
    """One convolution, and its border by kernels."""
    torch.manual_seed(0)
    x = torch.randn(1, 2, 24, 24)
    model = nn.Sequential(nn.Conv2d(2, 32, 3, padding=1), nn.Conv2d(32, 2, 3, padding=1)).eval()
    result = convfold.fold(model, (x,), config=convfold.FoldConfig(objective="macs"))
    assert result.report.borders
    return result.module, x


def test_a_border_is_added_and_not_scattered() -> None:
    module, x = folded()
    model = onnx_model(module, (x,), {})
    kinds = {node.op_type for node in model.graph.node}
    assert "ScatterND" not in kinds and "Conv" in kinds
    (y,) = Session(model)({model.graph.input[0].name: x.numpy()})
    assert np.abs(y - module(x).detach().numpy()).max() < 1e-4


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_models_of_onnx_ir_run(name: str) -> None:
    module, x = folded()
    model = ir.serde.deserialize_model(onnx_model(module, (x,), {}))
    assert runtime(name).ready(model, (x,), {}, 1)() is not None


def test_inputs_may_go_while_a_model_runs() -> None:
    """OpenVINO keeps no array alive that it shares: 1.9 MB, freed, are gone from the process."""
    layer = nn.Conv2d(136, 8, 3, 2).eval()
    call = runtime("openvino").ready(layer, (torch.randn(1, 136, 60, 60),), {}, 1)
    torch.randn(1, 136, 60, 60)
    for _ in range(3):
        call()
