"""One module or one weight with two users: folding one use must not change the other."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import convfold
from convfold import FoldConfig, fold
from tests.folding import Net, assert_calls, calls, fold_checked, noise, randomised


def test_a_convolution_on_two_paths_keeps_its_own_weights_on_each() -> None:
    """pytorch#104593, pytorch#197539: the batch norm behind one use was folded into the other too."""
    result = fold_checked(
        Net(
            lambda m, x, y: (m.norm(m.conv(x)), m.conv(y)),
            conv=nn.Conv2d(3, 5, (3, 2)),
            norm=nn.BatchNorm2d(5),
        ),
        (2, 3, 7, 9),
        (2, 3, 7, 9),
    )
    assert_calls(result, conv2d=2)
    assert result.report.before.batch_norms == 1


def test_one_value_read_folded_and_unfolded() -> None:
    """The convolution's own output is returned as well: both are needed."""
    net = Net(
        lambda m, x: (z := m.conv(x), m.norm(z).relu(), z.sigmoid()),
        conv=nn.Conv2d(3, 5, (3, 2)),
        norm=nn.BatchNorm2d(5),
    )
    result = fold_checked(net, (2, 3, 7, 9))
    assert calls(result)["conv2d"] in (1, 2)


def test_one_convolution_twice_in_a_row() -> None:
    result = fold_checked(
        Net(lambda m, x: m.norm(m.conv(m.conv(x))), conv=nn.Conv2d(4, 4, (1, 2)), norm=nn.BatchNorm2d(4)), (2, 4, 6, 7)
    )
    assert calls(result)["batch_norm"] == 0


def test_one_batch_norm_behind_two_convolutions() -> None:
    net = Net(
        lambda m, x: (m.norm(m.a(x)).relu(), m.norm(m.b(x)).relu()),
        a=nn.Conv2d(3, 5, (3, 2)),
        b=nn.Conv2d(3, 5, (2, 1), stride=2),
        norm=nn.BatchNorm2d(5),
    )
    result = fold_checked(net, (2, 3, 7, 9))
    assert_calls(result, conv2d=2, relu=2)


def test_tied_weights_are_copied_on_write() -> None:
    """Two layers own one tensor: what is folded into one must not reach the other; nor is the tie lost needlessly."""

    def tied(norm: bool) -> nn.Module:
        a, b = nn.Conv2d(4, 4, (3, 2), padding=(1, 0)), nn.Conv2d(4, 4, (3, 2), padding=(1, 0), bias=False)
        b.weight = a.weight
        return Net(lambda m, x: m.b(m.norm(m.a(x)).relu()), a=a, b=b, norm=nn.BatchNorm2d(4) if norm else nn.Identity())

    result = fold_checked(tied(True), (2, 4, 7, 9))
    assert_calls(result, conv2d=2, relu=1)
    kernels = [p for p in result.module.parameters() if p.dim() == 4]
    assert len(kernels) == 2 and not torch.equal(*kernels)

    alone = fold_checked(tied(False), (2, 4, 7, 9))
    assert not alone.report.changed
    assert sum(p.dim() == 4 for p in alone.module.parameters()) == 1  # still one tensor


def test_a_weight_that_is_also_read_as_data() -> None:
    """The kernel enters the output directly: it must stay what it was beside the folded one."""
    net = Net(
        lambda m, x: m.norm(m.conv(x)).relu() * m.conv.weight.square().sum(),
        conv=nn.Conv2d(3, 5, (3, 2)),
        norm=nn.BatchNorm2d(5),
    )
    result = fold_checked(net, (2, 3, 7, 9))
    assert calls(result)["conv2d"] == 1 and calls(result)["batch_norm"] == 0


def test_the_users_model_stays_as_it_was() -> None:
    """Not a tensor, flag, hook or module of it is touched, and none of it is shared with the result."""
    conv, norm = nn.Conv2d(3, 5, (3, 2)), nn.BatchNorm2d(5)
    conv.weight.requires_grad_(False)
    net = nn.Sequential(conv, norm, nn.ReLU(), nn.Dropout())
    seen = []
    net.register_forward_hook(lambda *_: seen.append(1))
    result = fold_checked(net, (2, 3, 7, 9))
    assert [name for name, _ in net.named_modules()] == ["", "0", "1", "2", "3"]
    assert net[0] is conv and net[1] is norm
    assert {name: p.requires_grad for name, p in net.named_parameters()} == {
        "0.weight": False,
        "0.bias": True,
        "1.weight": True,
        "1.bias": True,
    }
    assert len(net._forward_hooks) == 1 and not any(m.training for m in net.modules())
    storages = {t.untyped_storage().data_ptr() for t in net.state_dict().values()}
    assert storages.isdisjoint(t.untyped_storage().data_ptr() for t in result.module.state_dict().values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_module_under_two_names_stays_as_it_was(dtype: torch.dtype) -> None:
    """Run in another type for comparison, by swapping its weights: each module's once, or it never gets them back."""
    conv = nn.Conv2d(4, 4, (3, 1), padding=(1, 0))
    net = Net(lambda m, x: m.norm(m.a(x)) + m.b(x).relu(), a=conv, b=nn.Sequential(conv), norm=nn.BatchNorm2d(4))
    net.b[0].register_parameter("alias", conv.weight)
    randomised(net.to(dtype).eval())
    before = {name: t.clone() for name, t in net.state_dict().items()}
    x = noise(2, 4, 7, 6, dtype=dtype)
    result = convfold.fold(net, x)
    assert result.report.error is not None and result.report.error.passed
    assert isinstance(conv.weight, nn.Parameter) and conv.weight.dtype == dtype and conv.weight is conv.alias
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    assert convfold.verify(net, result.module, x).passed


def test_a_model_with_nothing_to_fold_does_not_share_its_weights_either() -> None:
    net = nn.Sequential(nn.Conv2d(3, 5, (3, 2)), nn.ReLU())
    result = fold_checked(net, (2, 3, 7, 9))
    assert not result.report.changed
    storages = {t.untyped_storage().data_ptr() for t in net.state_dict().values()}
    assert storages.isdisjoint(t.untyped_storage().data_ptr() for t in result.module.state_dict().values())


def test_a_buffer_that_the_model_writes_is_not_a_constant() -> None:
    """A scale kept in a buffer and updated by every call cannot be folded in: the second call would be wrong."""

    def decaying(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        m.scale.mul_(0.5)
        return m.conv(x * m.scale)

    net = Net(decaying, conv=nn.Conv2d(3, 5, (3, 2)), scale=torch.ones(3, 1, 1)).double().eval()
    x = torch.randn(2, 3, 7, 9, dtype=torch.float64)
    result = fold(net, x, config=FoldConfig(verify=False))
    reference = Net(decaying, conv=net.conv, scale=result.module.get_buffer("scale").clone())
    with torch.no_grad():
        for _ in range(3):
            torch.testing.assert_close(result.module(x), reference(x), rtol=1e-12, atol=1e-12)
