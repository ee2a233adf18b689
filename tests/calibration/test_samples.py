"""A sample is one call, of the kind it was drawn as, and the same in every runtime."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from convfold.calibration.as_onnx import model
from convfold.calibration.as_torch import module
from convfold.calibration.samples import KINDS, MACS, NUMBERS, Sample, drawn
from convfold.calibration.timed import works
from convfold.frontends.onnx.running.runtime import Session
from convfold.runtimes import runtime
from convfold.targets.terms import kind_of


def small(kind: str) -> Sample:
    """The smallest of some."""
    return min(drawn(kind, 12, 1), key=lambda sample: torch.Size(sample.shapes[0]).numel())


@pytest.mark.parametrize("name", ["eager", "onnxruntime"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_plan_sees_one_call_of_its_kind(kind: str, name: str) -> None:
    for sample in drawn(kind, 3, 2):
        found = [work for work in works(sample, runtime(name)) if work.kind != "view" or kind == "view"]
        kinds = [kind_of(work) for work in found][
            :1
        ]  # on the last axis a gather is an operator on that, a call of its own
        assert kinds == [kind] or (kind == "gather" and kinds == ["copy"]), sample
        assert sum(work.macs for work in found) <= MACS
        assert sum(work.moved for work in found) <= 4 * NUMBERS


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_in_torch_and_onnx(kind: str) -> None:
    sample = small(kind)
    torch.manual_seed(1)
    inputs = [torch.randn(shape) for shape in sample.shapes]
    expected = module(sample)(*inputs).detach().numpy()
    feeds = {f"x{i}": x.numpy() for i, x in enumerate(inputs)}
    (got,) = Session(model(sample, whole=True))(feeds)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 1e-4 * max(1.0, float(np.abs(expected).max())), sample
    (one,) = Session(model(sample))(feeds)
    assert one.size == 1 or kind == "permute"


def test_the_same_for_the_same_seed() -> None:
    for kind in KINDS:
        assert list(drawn(kind, 4, 0)) == list(drawn(kind, 4, 0)) != list(drawn(kind, 4, 1))
