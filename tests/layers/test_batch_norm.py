"""nn.BatchNorm1d-3d in eval mode; aten batch_norm."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from convfold.layers.examples import constant
from tests.folding import Net, noise
from tests.laws.oracle import assert_close
from tests.layers.calls import read
from tests.layers.table import CONV, NORM, SPACE, Case, check

INSTANCE = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


def test_every_kind_behind_and_before_what_it_fits() -> None:
    cases = []
    for dims in (1, 2, 3):
        conv, shape, one = CONV[dims], (3, *SPACE[dims]), {f"conv{dims}d": 1}
        instance = INSTANCE[dims](4, affine=True, track_running_stats=True)
        cases.append(Case(f"instance {dims}d", nn.Sequential(conv(3, 4, 2), instance), shape, one, merges=True))
        for affine in (True, False):
            norm = NORM[dims](4, affine=affine, eps=0.01)
            cases.append(Case(f"{dims}d {affine}", nn.Sequential(conv(3, 4, 2), norm), shape, one, merges=True))
    for affine in (True, False):
        norm = nn.BatchNorm1d(4, affine=affine)
        cases += [
            Case(f"linear {affine}", nn.Sequential(nn.Linear(3, 4), norm), (3,), {"linear": 1}, merges=True),
            Case(f"first {affine}", nn.Sequential(norm, nn.Linear(4, 3)), (4,), {"linear": 1}, merges=True),
            Case(f"two {affine}", nn.Sequential(norm, nn.BatchNorm1d(4)), (4, 6), {"addcmul": 1}),
        ]
    check(cases)


def test_functional_spellings() -> None:
    def functional(m: Net, x: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(m.conv(x), m.mean, m.var.abs() + 0.1, m.weight, None, False, 0.1, 1e-3)

    def written_out(m: Net, x: torch.Tensor) -> torch.Tensor:
        scale = m.weight / (m.var.abs() + 0.1).sqrt()
        return (m.conv(x) - m.mean[:, None, None]) * scale.view(1, -1, 1, 1) + m.bias.view(4, 1, 1)

    buffers = {name: torch.randn(4) for name in ("mean", "var", "weight", "bias")}
    conv = nn.Conv2d(3, 4, (3, 2))
    check(
        [
            Case("functional", Net(functional, conv=conv, **buffers), (3, 7, 6), {"conv2d": 1}),
            Case("written out", Net(written_out, conv=conv, **buffers), (3, 7, 6), {"conv2d": 1}),
        ]
    )


def test_what_is_not_affine_stays() -> None:
    check(
        [
            Case(
                "batch statistics",
                nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4, track_running_stats=False)),
                (3, 7, 6),
                {"conv2d": 1, "batch_norm": 1},
                code="training-mode",
                merges="training-mode",
            ),
            Case("instance norm", nn.Sequential(nn.Conv2d(3, 4, 2), nn.InstanceNorm2d(4)), (3, 7, 6), layers=None),
            Case("sync", nn.Sequential(nn.Conv2d(3, 4, 2), nn.SyncBatchNorm(4)), (3, 7, 6), {"conv2d": 1}, merges=True),
        ]
    )


def test_a_call_that_names_its_epsilon_otherwise() -> None:
    """cudnn's, found in what was exported on a GPU, calls it ``epsilon``."""
    x, stats = noise(2, 3, 4, 5), [constant(noise(3, seed=i).abs()) for i in range(4)]
    y = read(torch.ops.aten.cudnn_batch_norm.default, x, *stats, False, 0.1, 0.3)
    assert_close(y, F.batch_norm(x, stats[2], stats[3], stats[0], stats[1], eps=0.3))
