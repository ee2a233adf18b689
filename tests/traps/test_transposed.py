"""Transposed convolutions keep their output channels in the second axis of the weight, one group at a time."""

from __future__ import annotations

import pytest
from torch import nn

import convfold
from tests.folding import assert_calls, double, fold_checked, noise
from tests.laws.oracle import assert_close

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
SPACE = {1: (6,), 2: (5, 6), 3: (3, 4, 5)}


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(("c_in", "c_out", "groups"), [(4, 4, 1), (6, 4, 2), (4, 4, 4), (4, 8, 4), (3, 5, 1)])
def test_batch_norm_scales_the_output_channels(dims: int, c_in: int, c_out: int, groups: int) -> None:
    """pytorch#180995 (groups), and C_in = C_out, where the wrong axis fits and nothing is said."""
    options = {"stride": 2, "padding": 1, "output_padding": 1, "groups": groups}
    layers = TRANSPOSED[dims](c_in, c_out, 3, **options), NORM[dims](c_out)
    result = fold_checked(nn.Sequential(*layers), (2, c_in, *SPACE[dims]))
    assert_calls(result, **{f"conv_transpose{dims}d": 1})

    chain = double(nn.Sequential(*layers))
    x = noise(2, c_in, *SPACE[dims])
    assert_close(convfold.merge(*chain)(x).detach(), chain(x).detach())


@pytest.mark.parametrize(("c_in", "c_out", "groups"), [(4, 4, 1), (6, 4, 2), (4, 4, 4)])
def test_a_scale_before_it_belongs_to_the_input_channels(c_in: int, c_out: int, groups: int) -> None:
    result = fold_checked(
        nn.Sequential(nn.BatchNorm2d(c_in, affine=False), nn.ConvTranspose2d(c_in, c_out, 2, 2, groups=groups)),
        (2, c_in, 5, 6),
    )
    assert_calls(result, conv2d=1, pixel_shuffle=1)  # stride 2, size 2: its phases do not overlap


@pytest.mark.parametrize("groups", [1, 2])
def test_a_pointwise_convolution_before_and_after(groups: int) -> None:
    """1×1 4→2, transposed 2→2, 1×1 2→6: whether it is one depends on cost; it must be right either way."""
    fold_checked(
        nn.Sequential(
            nn.Conv2d(4, 2, 1, bias=False),
            nn.ConvTranspose2d(2, 2, (3, 2), stride=2, groups=groups),
            nn.BatchNorm2d(2),
            nn.Conv2d(2, 6, 1),
        ),
        (2, 4, 5, 6),
    )
