"""A padding that is written over with what the step before it gives of zeros, as published blocks have it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convfold
from tests.folding import randomised


class Padded(nn.Module):
    """DiverseBranchBlock's BNAndPadLayer (github: DiverseBranchBlock), between a 1×1 and a convolution."""

    def __init__(self, pads: Sequence[int] = (1, 1, 1, 1), off: float = 0.0, missing: int = 0) -> None:
        super().__init__()
        self.pads, self.off, self.missing = list(pads), off, missing
        self.first = nn.Conv2d(4, 6, 1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.conv = nn.Conv2d(6, 5, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.padded(self.norm(self.first(x))))
        return y

    def padded(self, y: Tensor) -> Tensor:
        n = self.norm
        v = n.bias.detach() - n.running_mean * n.weight.detach() / torch.sqrt(n.running_var + n.eps)
        left, right, top, bottom = self.pads
        y, v = F.pad(y, self.pads), v.view(1, -1, 1, 1) + self.off
        ends = [(2, slice(0, top), top), (2, slice(-bottom, None), bottom), (3, slice(0, left), left)]
        ends += [(3, slice(-right, None), right)]
        for axis, part, width in ends[self.missing :]:
            if width:
                y[(slice(None),) * axis + (part,)] = v
        return y


class ByBias(nn.Module):
    """ECBSR: a 1×1 convolution, padded with its bias (github: ECBSR)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv = nn.Conv2d(4, 6, 1), nn.Conv2d(6, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.pad(self.first(x), (1, 1, 1, 1), "constant", 0)
        b = self.first.bias.view(1, -1, 1, 1)  # type: ignore[union-attr]
        y[:, :, 0:1, :] = b
        y[:, :, -1:, :] = b
        y[:, :, :, 0:1] = b
        y[:, :, :, -1:] = b
        z: Tensor = self.conv(y)
        return z


ONE = {
    "batch norm": Padded,
    "bias": ByBias,
    "uneven": lambda: Padded((2, 1, 1, 2)),
    "three ends": lambda: Padded((1, 1, 0, 1)),
}
LEFT = {
    "another number": lambda: Padded(off=1e-3),
    "an end missing": lambda: Padded(missing=1),
}


def net(make: Callable[[], nn.Module]) -> nn.Module:
    return randomised(make()).float().eval()


@pytest.mark.parametrize("what", ONE)
@pytest.mark.parametrize("free", [False, True])
def test_is_a_pad_before_it(what: str, free: bool) -> None:
    """All of it is one convolution."""
    model, x = net(ONE[what]), torch.randn(2, 4, 6, 7)
    sizes = {"x": {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}}
    result = convfold.fold(model, (x,), dynamic_shapes=sizes if free else None)
    assert result.report.after.layers == 1
    assert result.report.after.ops == (
        2 if what in ("uneven", "three ends") else 1
    )  # uneven pads are a call of torch's
    for shape in ((2, 4, 6, 7), (3, 4, 9, 5)) if free else ((2, 4, 6, 7), (5, 4, 6, 7)):
        y = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(result.module(y), model(y), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("what", LEFT)
def test_other_numbers_are_left(what: str) -> None:
    model, x = net(LEFT[what]), torch.randn(2, 4, 6, 7)
    result = convfold.fold(model, (x,))
    assert result.report.after.layers == 2
    with torch.no_grad():
        torch.testing.assert_close(result.module(x), model(x), rtol=1e-4, atol=1e-4)


def test_what_else_is_read_stays() -> None:
    """The norm and the padded signal have other readers."""

    class Read(Padded):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
            y = self.norm(self.first(x))
            z = self.padded(y)
            return self.conv(z), y.relu(), z.relu()

    model, x = net(Read), torch.randn(2, 4, 6, 7)
    result = convfold.fold(model, (x,))
    with torch.no_grad():
        torch.testing.assert_close(result.module(x), model(x), rtol=1e-4, atol=1e-4)
