"""Batch, height and width free: folded once, right at every size."""

from __future__ import annotations

import pytest
import torch
from torch.export import Dim

import convfold
import zoo

FREE = ({0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO},)


@pytest.mark.parametrize("name", ["tiny-segformer"])
def test_right_at_other_sizes(name: str) -> None:
    case = zoo.build(name)
    (x,) = case.args
    result = convfold.fold(case.model, (x.repeat(2, 1, 1, 1),), dynamic_shapes=FREE)
    assert len(result.report.free) == 3
    assert result.report.after.macs < result.report.before.macs
    height, width = x.shape[2:]
    for shape in ((1, 3, height, width), (3, 3, height + 32, width), (2, 3, 2 * height, width + 65), (1, 3, 97, 131)):
        image = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))
        verdict = convfold.verify(case.model, result.module, (image,))
        assert verdict.passed, f"{shape}: {verdict}"
