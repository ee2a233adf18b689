"""Batch norm: never folded while its statistics follow the batch, and with its own eps, scale and statistics else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import convfold
from tests.folding import assert_calls, assert_unchanged, double, fold_checked, noise
from tests.laws.oracle import assert_close, refused


class Stem(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, (3, 2)), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.bn(self.conv(x)).relu()
        return y


class TestTraining:
    """RepVGG#9, #19, #66, ml-mobileone#8: folded silently, and wrong."""

    def test_a_model_in_training_mode_is_refused_by_the_norms_name(self) -> None:
        net = nn.Sequential(Stem(), nn.Sequential(Stem())).double()
        with pytest.raises(convfold.InvalidInput, match=r"batch norm '0\.bn' is in training mode.*eval\(\)"):
            convfold.fold(net, noise(2, 3, 9, 8))

    def test_one_norm_in_training_mode_among_others(self) -> None:
        net = nn.Sequential(Stem(), nn.Conv2d(4, 3, 1), Stem()).double().eval()
        net[2].bn.train()
        with pytest.raises(convfold.InvalidInput, match=r"batch norm '2\.bn' is in training mode"):
            convfold.fold(net, noise(2, 3, 9, 8))
        with pytest.raises(convfold.InvalidInput, match=r"batch norm '2\.bn' is in training mode"):
            convfold.explain(net, noise(2, 3, 9, 8))

    def test_a_program_exported_in_training_mode(self) -> None:
        net = nn.Sequential(Stem()).double()
        program = torch.export.export(net, (noise(2, 3, 9, 8),))
        with pytest.raises(convfold.InvalidInput, match=r"batch norm .*bn.* is in training mode"):
            convfold.fold(program)

    def test_merge_and_the_algebra_refuse_it(self) -> None:
        with refused("training-mode"):
            convfold.merge(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        with refused("training-mode"):
            convfold.Convolution.of(nn.BatchNorm1d(4))

    def test_refusing_changes_nothing(self) -> None:
        """Not even the running statistics, which a forward pass would have moved."""
        net = nn.Sequential(Stem()).double()
        before = {name: t.clone() for name, t in net.state_dict().items()}
        with pytest.raises(convfold.InvalidInput):
            convfold.fold(net, noise(2, 3, 9, 8))
        assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items()) and net.training

    def test_a_frozen_norm_in_a_model_that_trains_is_in_eval_mode(self) -> None:
        """Only the norm's own flag counts."""
        net = double(nn.Sequential(Stem(), nn.ReLU()))
        net.train()
        net[0].bn.eval()
        result = convfold.fold(net, noise(2, 3, 9, 8))
        assert result.report.after.batch_norms == 0 and net.training and not net[0].bn.training


def test_statistics_of_the_batch_in_eval_mode_too() -> None:
    """track_running_stats=False: there is nothing to fold, in any mode."""
    net = nn.Sequential(nn.Conv2d(3, 4, (3, 2)), nn.BatchNorm2d(4, track_running_stats=False))
    assert_unchanged(fold_checked(net, (2, 3, 9, 8), batches=(2, 3)), "training-mode")
    with refused("training-mode"):
        convfold.Convolution.of(net[1])


@pytest.mark.parametrize("eps", [0.0, 1e-12, 1e-5, 1e-3, 0.5])
def test_eps_is_the_norms_own(eps: float) -> None:
    """Assumed 1e-5 in more than one published script; with small variances it is most of the answer."""
    net = nn.Sequential(nn.Conv2d(3, 4, (3, 2)), nn.BatchNorm2d(4, eps=eps))
    assert_calls(fold_checked(net, (2, 3, 9, 8)), conv2d=1)
    chain = double(net)
    with torch.no_grad():
        chain[1].running_var.mul_(1e-4)
    x = noise(2, 3, 9, 8)
    assert_close(convfold.merge(*chain)(x).detach(), chain(x).detach())
    with torch.no_grad():
        assert_close(convfold.fold(chain, x).module(x), chain(x))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        (lambda bias, affine: (nn.Linear(5, 4, bias), nn.BatchNorm1d(4, affine=affine)), (2, 5)),
        (lambda bias, affine: (nn.Conv1d(3, 4, 2, bias=bias), nn.BatchNorm1d(4, affine=affine)), (2, 3, 7)),
        (lambda bias, affine: (nn.Conv2d(3, 4, (3, 2), bias=bias), nn.BatchNorm2d(4, affine=affine)), (2, 3, 7, 6)),
        (
            lambda bias, affine: (nn.Conv3d(2, 3, (1, 2, 3), bias=bias), nn.BatchNorm3d(3, affine=affine)),
            (2, 2, 3, 4, 5),
        ),
    ],
    ids=["linear", "1d", "2d", "3d"],
)
def test_with_and_without_scale_and_bias(layers: object, shape: tuple[int, ...], affine: bool, bias: bool) -> None:
    chain = nn.Sequential(*layers(bias, affine))  # type: ignore[operator]
    result = fold_checked(chain, shape)
    assert result.report.after.ops == 1
    chain = double(chain)
    x = noise(*shape)
    assert_close(convfold.merge(*chain)(x).detach(), chain(x).detach())


def test_a_norm_without_momentum_keeps_a_cumulative_average() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, (3, 2)), nn.BatchNorm2d(4, momentum=None))
    assert_calls(fold_checked(net, (2, 3, 9, 8)), conv2d=1)


def test_several_norms_in_a_row() -> None:
    net = nn.Sequential(
        nn.BatchNorm2d(3),
        nn.BatchNorm2d(3, affine=False),
        nn.Conv2d(3, 4, (3, 2)),
        nn.BatchNorm2d(4),
        nn.BatchNorm2d(4),
    )
    assert_calls(fold_checked(net, (2, 3, 9, 8)), conv2d=1)


def test_a_norm_between_two_that_are_not_affine_stays_a_norm_or_less() -> None:
    net = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3), nn.ReLU())
    result = fold_checked(net, (2, 3, 9, 8))
    assert result.report.after.ops <= 3


def test_negative_and_zero_scales() -> None:
    """A ReLU cannot be pulled through them; nothing may be divided by them."""
    chain = double(nn.Sequential(nn.Conv2d(3, 4, (3, 2)), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)))
    with torch.no_grad():
        chain[1].weight.copy_(torch.tensor([0.0, -1.5, 2.0, 0.0]))
    x = noise(2, 3, 9, 8)
    result = convfold.fold(chain, x)
    with torch.no_grad():
        assert_close(result.module(x), chain(x))
    assert_calls(result, conv2d=2, relu=1)
