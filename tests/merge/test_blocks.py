"""Blocks with a forward of their own: exported with every size free, folded, and one module if one value remains."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convfold
from convfold.errors import NotFoldable
from convfold.layers.bordered import Bordered
from tests.folding import Net, double, noise
from tests.laws.oracle import assert_close, refused
from tests.merge.blocks import BORDERED, ONE, DiverseBranch, LoRA, RepVGG, Residual, StdConv2d, built, sizes


@pytest.mark.parametrize("name", ONE)
@torch.no_grad()
def test_a_block_is_one_layer(name: str) -> None:
    net, shape = built(ONE[name])
    before = {key: t.clone() for key, t in net.state_dict().items()}
    merged, value = convfold.merge(net), convfold.Convolution.of(net)
    assert not isinstance(merged, Bordered) and sum(len(list(m.children())) == 0 for m in merged.modules()) <= 2
    for size in sizes(net, shape):
        x = noise(2, *size)
        assert_close(merged(x), net(x), f"merge at {size}")
        assert_close(value(x), net(x), f"of at {size}")
    after = net.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[key], t) for key, t in before.items())


@pytest.mark.parametrize("name", BORDERED)
@torch.no_grad()
def test_a_block_with_a_border(name: str) -> None:
    net, shape = built(BORDERED[name])
    with pytest.raises(NotFoldable) as refusal:
        convfold.Convolution.of(net)
    assert refusal.value.code in ("ghost-depends-on-data", "ghost-is-constant")
    with pytest.raises(NotFoldable) as refusal:
        convfold.merge(net, border="refuse")
    assert refusal.value.code in ("ghost-depends-on-data", "ghost-is-constant")
    merged = convfold.merge(net)
    assert isinstance(merged, Bordered)
    again = convfold.merge(merged)  # which is a known layer
    for size in sizes(net, shape):
        x = noise(2, *size)
        assert_close(merged(x), net(x), f"at {size}")
        assert_close(again(x), net(x), f"again, at {size}")


@torch.no_grad()
def test_blocks_among_layers() -> None:
    """A block without weights is told its channels and axes by its neighbours."""
    half = Net(lambda m, x: torch.cat([x[:, 2:], 0.5 * x[:, :2]], 1))
    net = double(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), half, nn.Conv2d(4, 2, 1)))
    first = double(nn.Sequential(half, nn.AvgPool2d(2), nn.Conv2d(4, 2, 1)))
    alone = double(nn.Sequential(nn.AvgPool1d(2), RepVGG(3, 1)))
    for module, shape in ((net, (3, 6, 7)), (first, (4, 6, 7)), (alone, (3, 8))):
        x = noise(2, *shape)
        assert_close(convfold.merge(*module)(x), module(x))
        assert_close(convfold.merge(module)(x), module(x))


def branches_on(n: int) -> nn.Module:
    return Net(lambda m, x: m.conv(x) * (2 if x.shape[2] > n else 1), conv=nn.Conv2d(3, 2, 3, padding=1))


@pytest.mark.parametrize(
    ("net", "code", "words"),
    [
        (nn.Sequential(nn.Identity(), Residual(nn.Conv2d(3, 3, 1), nn.ReLU())), "not-affine", "module 1 .*1: .*relu"),
        (Net(lambda m, x: F.gelu(m.conv(x)), conv=nn.Conv2d(3, 4, 3)), "not-affine", "gelu is not affine"),
        (Net(lambda m, x: m.conv(x) * m.conv(x), conv=nn.Conv2d(3, 4, 3)), "not-affine", "a product of two signals"),
        (Net(lambda m, x: m.conv(m.norm(x)), conv=nn.Conv2d(4, 4, 3), norm=nn.GroupNorm(2, 4)), "not-affine", "norm"),
        (Net(lambda m, x: m.conv(x).mean((2, 3)), conv=nn.Conv2d(3, 4, 3)), "channels-differ", "takes no input"),
        (Net(lambda m, x: m.conv(x).mean((2, 3), True), conv=nn.Conv2d(3, 4, 3)), "not-affine", "mean is no"),
        (Net(lambda m, x: (x, m.conv(x)), conv=nn.Conv2d(3, 4, 3)), "channels-differ", "returns a tuple"),
        (Net(lambda m, x: m.conv(x.flip(3)), conv=nn.Conv2d(3, 4, 3)), "not-affine", "flip is no convolution"),
        (Net(lambda m, x: m.conv(x) + torch.arange(x.shape[3] - 2), conv=nn.Conv2d(3, 4, 3)), "not-affine", "arange"),
        (Net(lambda m, x: m.conv(x) + m.p, conv=nn.Conv2d(3, 4, 3), p=torch.randn(1, 4, 14, 22)), "not-affine", "free"),
        (Net(lambda m, x: m.conv(x) * (2 if x.sum() > 0 else 1), conv=nn.Conv2d(3, 3, 1)), "not-affine", "free"),
        (Net(lambda m, x: m.conv(F.pad(x, (1, 1, 1, 1), value=1.0)), conv=nn.Conv2d(3, 3, 1)), "padding-mode", "zero"),
        (Net(lambda m, x: x * m.scale, scale=nn.Parameter(torch.randn(()))), "channels-differ", "channels= and dims="),
        (branches_on(2), "not-affine", "something else at other sizes"),
        (branches_on(20), "not-affine", "something else at other sizes"),
        (branches_on(500), "not-affine", "something else at other sizes"),
    ],
)  # fmt: skip
def test_what_is_not_affine_is_refused(net: nn.Module, code: str, words: str) -> None:
    """With the reason and the place; no way of treating the border helps."""
    for read in (convfold.Convolution.of, convfold.merge):
        with pytest.raises(NotFoldable, match=words) as refusal:
            read(net.eval())
        assert refusal.value.code == code and "\n" not in str(refusal.value)


def test_blocks_in_training_mode() -> None:
    for net in (
        RepVGG(),
        Net(lambda m, x: m.conv(m.drop(x)), conv=nn.Conv2d(3, 4, 3), drop=nn.Dropout()),
        Residual(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)),
    ):
        with refused("training-mode"):
            convfold.merge(net)
        convfold.merge(net.eval())


@torch.no_grad()
def test_channels_and_axes_can_be_given() -> None:
    net = Net(lambda m, x: 2 * x)
    with refused("channels-differ"):
        convfold.Convolution.of(net)
    value = convfold.Convolution.of(net, channels=3, dims=2)
    assert (value.c_in, value.c_out, value.dims) == (3, 3, 2)
    pooled = convfold.Convolution.of(Net(lambda m, x: x + F.avg_pool1d(x, 3, 1, 1)), channels=2, dims=1)
    x = noise(2, 2, 7)
    assert_close(pooled(x), x + F.avg_pool1d(x, 3, 1, 1))


@torch.no_grad()
def test_padding_with_copies_inside_a_block() -> None:
    conv = nn.Conv2d(3, 4, (3, 5))
    for mode in ("reflect", "replicate", "circular"):
        net = double(Net(lambda m, x, mode=mode: m.one(m.conv(F.pad(x, (2, 2, 1, 1), mode=mode))), conv=conv,
                         one=nn.Conv2d(4, 2, 1)))  # fmt: skip
        with refused("padding-mode"):
            convfold.Convolution.of(net)
        merged = convfold.merge(net)
        assert isinstance(merged, nn.Conv2d) and merged.padding_mode == mode
        for size in ((3, 4), (7, 6)):
            assert_close(merged(noise(2, 3, *size)), net(noise(2, 3, *size)))


@torch.no_grad()
def test_types_and_devices() -> None:
    """A block's value is composed in float64 and cast once, to the type of its first weight."""
    for dtype in (torch.float32, torch.bfloat16):
        net = double(DiverseBranch())
        exact = convfold.Convolution.of(net)
        single = convfold.merge(net.to(dtype))
        assert {p.dtype for p in single.parameters()} == {dtype}
        rounded = convfold.Convolution.of(net)
        assert rounded.kernel.dtype == dtype and rounded.bias is not None and exact.bias is not None
        for got in (single.weight, rounded.kernel):
            assert float((got.double() - exact.kernel).norm() / exact.kernel.norm()) < 2 * torch.finfo(dtype).eps
    assert not any(p.requires_grad for p in convfold.merge(LoRA().eval().requires_grad_(False)).parameters())
    assert all(p.requires_grad for p in convfold.merge(LoRA().eval()).parameters())


GRADIENTS = {
    "RepVGG": (RepVGG, (4, 6, 5)),
    "standardised": (lambda: nn.Sequential(nn.Conv2d(3, 4, 2), StdConv2d(4, 4, 3)), (3, 6, 7)),
    "LoRA": (LoRA, (6,)),
    "hooked": (lambda: hooked(nn.Conv2d(3, 4, 3)), (3, 6, 7)),
    "old weight norm": (lambda: nn.utils.weight_norm(nn.Conv2d(3, 4, 3)), (3, 6, 7)),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), (3, 6, 7)),
}


def hooked(m: nn.Module) -> nn.Module:
    m.register_forward_hook(lambda module, args, y: y * module.weight.mean())
    return m


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_the_blocks(name: str, dtype: torch.dtype) -> None:
    """`of`, and `merge` where asked, are differentiable in every weight, of a block too."""
    make, shape = GRADIENTS[name]
    net = double(make()).to(dtype)
    x, weights = noise(2, *shape, dtype=dtype), list(net.parameters())
    y = net(x)
    direction = noise(*y.shape, seed=3, dtype=dtype)
    expected = torch.autograd.grad((y * direction).sum(), weights)
    for op in (convfold.Convolution.of(net), convfold.merge(net, attached=True)):
        got = torch.autograd.grad((op(x) * direction).sum(), weights)
        for g, e in zip(got, expected, strict=True):
            assert_close(g, e, tolerance=1e-11 if dtype == torch.float64 else 1e-4)


def test_gradients_of_what_changes_nothing_yet() -> None:
    """A scale of one, a shift and biases of zero: they are learnt, and will not stay so."""
    net = Net(
        lambda m, x: m.scale * m.norm(m.conv(x)) + m.shift,
        conv=nn.Conv2d(3, 4, 3),
        norm=nn.BatchNorm2d(4),
        scale=nn.Parameter(torch.ones(())),
        shift=nn.Parameter(torch.zeros(())),
    ).double()
    nn.init.zeros_(net.eval().conv.bias)
    x, weights = noise(2, 3, 6, 7), list(net.parameters())
    expected = torch.autograd.grad(net(x).square().sum(), weights)
    for op in (convfold.Convolution.of(net), convfold.merge(net, attached=True)):
        for g, e in zip(torch.autograd.grad(op(x).square().sum(), weights), expected, strict=True):
            assert_close(g, e)
    chain = net.conv, net.norm
    known = convfold.Convolution.of(chain[1]) @ convfold.Convolution.of(chain[0])
    wanted = torch.autograd.grad(chain[1](chain[0](x)).square().sum(), list(chain[1].parameters()))
    for g, e in zip(torch.autograd.grad(known(x).square().sum(), list(chain[1].parameters())), wanted, strict=True):
        assert_close(g, e)


def test_a_block_with_other_weights() -> None:
    """`torch.func.functional_call` puts plain tensors in the place of parameters; gradients reach them."""

    class Merging(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Conv2d(3, 4, 2), RepVGG())

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = convfold.merge(self.block)(x)
            return y

    net, x = double(Merging()), noise(2, 3, 6, 7)
    weights = {name: (2 * p).detach().requires_grad_() for name, p in net.named_parameters()}
    got = torch.func.functional_call(net, weights, (x,))
    inner = {name.removeprefix("block."): p for name, p in weights.items()}
    expected = torch.func.functional_call(net.block, inner, (x,))
    assert_close(got.detach(), expected.detach())
    for g, e in zip(
        *(torch.autograd.grad(y.square().sum(), list(weights.values())) for y in (got, expected)), strict=True
    ):
        assert_close(g, e, tolerance=1e-10)
    with refused("not-affine"):
        torch.func.grad(lambda w: torch.func.functional_call(net, w, (x,)).sum())(weights)
