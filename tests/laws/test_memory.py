"""What would not fit is refused before it is tried. The operands here take no memory."""

from __future__ import annotations

import pytest
import torch

from convfold.algebra import series
from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window
from tests.laws.oracle import refused


def hollow(c_out: int, c_in: int, taps: int, groups: int = 1, device: str = "cpu") -> Convolution:
    """A kernel that reads one number everywhere."""
    kernel = torch.zeros(1, device=device).expand(c_out, c_in // groups, taps, taps)
    return Convolution(kernel, None, groups, (Window(taps),) * 2)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ((1024, 1024, 31), (1024, 1024, 3)),
        ((1024, 1024, 3), (1024, 1024, 31)),
        ((65536, 8, 1), (8, 65536, 1)),
    ],
)
def test_too_large_is_refused_untried(outer: tuple[int, int, int], inner: tuple[int, int, int], device: str) -> None:
    with refused("too-large"):
        hollow(*outer, device=device) @ hollow(*inner, device=device)


def test_the_message_says_how_much() -> None:
    with refused("too-large") as caught:
        hollow(1024, 1024, 31) @ hollow(1024, 1024, 3)
    assert "GiB" in str(caught.value) and "the limit is 4.0" in str(caught.value)


def test_depthwise_is_not_too_large() -> None:
    folded = hollow(1024, 1024, 31, groups=1024) @ hollow(1024, 1024, 3, groups=1024)
    assert folded.groups == 1024 and folded.geometry.taps == (33, 33)


def test_meta_tensors_compose_to_meta_tensors() -> None:
    folded = hollow(64, 32, 5, device="meta") @ hollow(32, 16, 3, device="meta")
    assert folded.kernel.is_meta and folded.geometry.kernel_shape == (64, 16, 7, 7)


def test_the_limit_can_be_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "MEMORY_LIMIT", 1 << 10)
    with refused("too-large"):
        hollow(8, 8, 3) @ hollow(8, 8, 3)
