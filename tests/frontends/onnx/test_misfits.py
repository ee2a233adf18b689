"""Layers that do not fit their signal, which the standard's inference may let pass: no model, in one line."""

from __future__ import annotations

from typing import Any

import pytest

import convfold
from tests.frontends.onnx.models import NET, model


@pytest.mark.parametrize(
    ("text", "weights", "said"),
    [
        (NET, {"w": (5, 4, 3, 2)}, "the signal has 3 channels, the weight takes 4"),
        (NET, {"s": (6,)}, "Dimension mismatch in unification between 6 and 5"),
        (NET.replace("(x, w)", "<group = 2>(x, w)"), {}, "the signal has 3 channels, the weight takes 6"),
        (NET.replace("(x, w)", "<group = 3>(x, w)"), {"w": (5, 1, 3, 2)}, "3 channels to 5 in 3 groups"),
        (NET.replace("(x, w)", "(x, w, k)"), {"k": (4,)}, r"there are 5 channels, and a bias of sizes \(4,\)"),
        (NET.replace("3,9,8", "3,1,8"), {}, r"its result would be \(1, 5, -1, 7\)"),
        (NET.replace("Conv(x, w)", "ConvTranspose(x, w)"), {}, "the signal has 3 channels, the weight takes 5"),
    ],
)
def test_refused(text: str, weights: dict[str, Any], said: str) -> None:
    with pytest.raises(convfold.InvalidInput, match=said):
        convfold.fold(model(text, **weights))
