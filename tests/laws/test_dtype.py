"""A composition has the dtype of its parts, whatever the geometry."""

from __future__ import annotations

import pytest
import torch

from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window
from tests.laws.oracle import assert_close

WINDOWS = {
    "linear": ((), ()),
    "pointwise": ((Window(),), (Window(),)),
    "plain": ((Window(3),), (Window(2),)),
    "upsampled": ((Window(3, upsample=2),), (Window(3),)),
    "volume": ((Window(2),) * 3, (Window(2, stride=2),) * 3),
}
DTYPES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.1, torch.float16: 0.02}


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", WINDOWS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_series_and_sum_keep_the_dtype(dtype: torch.dtype, kind: str, groups: int) -> None:
    wb, wa = WINDOWS[kind]
    exact = [
        Convolution(torch.randn(4, 4 // groups, *(w.taps for w in ws)) / 4, torch.randn(4), groups, ws)
        for ws in (wb, wa)
    ]
    exact = [op.to(dtype).to(torch.float64) for op in exact]
    b, a = (op.to(dtype) for op in exact)
    for got, want in ((b @ a, exact[0] @ exact[1]), (a + a, exact[1] + exact[1]), (a * 0.5, exact[1] * 0.5)):
        assert got.bias is not None and want.bias is not None
        assert (got.kernel.dtype, got.bias.dtype) == (dtype, dtype)
        assert_close(got.kernel.double(), want.kernel, "kernel", DTYPES[dtype])
        assert_close(got.bias.double(), want.bias, "bias", DTYPES[dtype])


def test_identity_is_like_its_example() -> None:
    assert Convolution.identity(3, 2, like=torch.zeros(1, dtype=torch.float16)).kernel.dtype == torch.float16
    assert Convolution.identity(3, 2).kernel.shape == (3, 1, 1, 1)


@pytest.mark.parametrize("format", [torch.channels_last, torch.contiguous_format])
def test_memory_format_does_not_matter(format: torch.memory_format) -> None:
    kernel = torch.randn(4, 3, 3, 2, dtype=torch.float64)
    a = Convolution(kernel.contiguous(memory_format=format), None, 1, (Window(3), Window(2)))
    plain = Convolution(kernel, None, 1, (Window(3), Window(2)))
    b = Convolution(
        torch.randn(2, 4, 2, 2, dtype=torch.float64).contiguous(memory_format=format),
        None,
        1,
        (Window(2),) * 2,
    )
    assert_close((b @ a).kernel, (b @ plain).kernel)
    x = torch.randn(1, 3, 6, 7, dtype=torch.float64).contiguous(memory_format=format)
    assert_close((b @ a)(x), b(a(x)))
