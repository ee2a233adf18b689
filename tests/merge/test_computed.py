"""What a module computes is read, not what it is called: hooks, own functions, parametrisations, changed attributes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.nn.utils import parametrizations, parametrize, prune

import convfold
from convfold.errors import InvalidInput, NotFoldable
from tests.folding import double, noise, randomised
from tests.laws.oracle import assert_close, refused
from tests.merge.blocks import EqualisedConv2d, Residual, ScaledLinear, StdConv2d

Change = Callable[[Any], object]


def assert_read(m: nn.Module, *shapes: tuple[int, ...]) -> nn.Module:
    """`merge` and `of` give what calling the module gives."""
    with torch.no_grad():
        merged, value = convfold.merge(m), convfold.Convolution.of(m)
        for shape in shapes:
            x = noise(2, *shape)
            assert_close(merged(x), m(x), f"merge at {shape}")
            assert_close(value(x), m(x), f"of at {shape}")
    return merged


class Doubled(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return 2 * w + 1


def own_forward(m: nn.Conv2d) -> None:
    m.forward = lambda x: 3 * F.conv2d(x, m.weight)  # type: ignore[method-assign]


def own_inner(m: nn.Conv2d) -> None:
    m._conv_forward = lambda x, w, b: F.conv2d(x, w.flip(2), b)  # type: ignore[method-assign]


HONOURED: dict[str, Change] = {
    "a forward hook": lambda m: m.register_forward_hook(lambda m, args, y: 2 * y - 1),
    "a forward hook that returns nothing": lambda m: m.register_forward_hook(lambda m, args, y: None),
    "a forward hook with keywords": lambda m: m.register_forward_hook(lambda m, a, k, y: -y, with_kwargs=True),
    "a pre-hook": lambda m: m.register_forward_pre_hook(lambda m, args: (3 * args[0],)),
    "a forward of the instance's own": own_forward,
    "what forward calls": own_inner,
    "a parametrisation": lambda m: parametrize.register_parametrization(m, "weight", Doubled()),
    "of the bias": lambda m: parametrize.register_parametrization(m, "bias", Doubled()),
    "weight norm": parametrizations.weight_norm,
    "weight norm as a hook": nn.utils.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "spectral norm as a hook": lambda m: nn.utils.spectral_norm(m).eval(),
    "pruned": lambda m: prune.random_unstructured(m, "weight", 0.5),
    "backward hooks": lambda m: m.register_full_backward_hook(lambda m, g, h: None),
}


@pytest.mark.filterwarnings("ignore:The tensor attribute")  # of torch.export, on what old weight norm does
@pytest.mark.parametrize("change", HONOURED)
def test_hooks_and_functions(change: str) -> None:
    conv = double(nn.Conv2d(3, 4, (3, 2), padding=(1, 0)))
    HONOURED[change](conv)
    randomised(conv.double().eval())
    before = {name: t.clone() for name, t in conv.state_dict().items()}
    attributes = dict(vars(conv))
    convfold.merge(conv)
    convfold.Convolution.of(conv)
    assert all(torch.equal(t, before[name]) for name, t in conv.state_dict().items())
    assert vars(conv).keys() == attributes.keys() and all(vars(conv)[key] is value for key, value in attributes.items())
    assert_read(conv, (3, 6, 7), (3, 3, 2))
    assert_read(nn.Sequential(conv, double(nn.BatchNorm2d(4))), (3, 6, 7))


@pytest.mark.parametrize("build", [
    lambda: (StdConv2d(3, 4, 3), nn.BatchNorm2d(4)),
    lambda: (nn.Conv2d(3, 3, 1, bias=False), Residual(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))),
    lambda: (EqualisedConv2d(3, 4, 3), nn.PixelShuffle(2)),
    lambda: (Residual(nn.Conv2d(3, 3, 1)), Residual(nn.Conv2d(3, 3, 1))),
])  # fmt: skip
def test_subclasses_with_functions_of_their_own(build: Callable[[], tuple[nn.Module, ...]]) -> None:
    """They were taken for what they inherit from, and wrong by the size of the output."""
    modules = double(nn.Sequential(*build()))
    assert_read(modules, (3, 6, 8))
    x = noise(2, 3, 6, 8)
    with torch.no_grad():
        assert_close(convfold.merge(*modules)(x), modules(x))


def test_a_linear_subclass() -> None:
    assert_read(double(ScaledLinear(5, 4)), (5,))


def test_subclasses_that_add_nothing_are_known() -> None:
    """Nothing is exported for them: they are what they inherit from."""

    class Block(nn.Sequential):
        def __init__(self, c: int) -> None:
            super().__init__(nn.Conv2d(c, c, 3), nn.BatchNorm2d(c), Pool(2))

    class Pool(nn.AvgPool2d):
        def extra_repr(self) -> str:
            return "mine"

    exported = torch.export.export
    try:
        torch.export.export = None  # type: ignore[assignment]
        assert_read(double(Block(3)), (3, 7, 6))
    finally:
        torch.export.export = exported


@pytest.mark.parametrize("register", [register_module_forward_hook, register_module_forward_pre_hook])
def test_hooks_on_every_module(register: Callable[..., Any]) -> None:
    """They would be run on whatever it is exported with, too: refused."""
    handle = register(lambda *args: None)
    try:
        for read in (convfold.merge, convfold.Convolution.of):
            with pytest.raises(NotFoldable, match="every module") as refusal:
                read(nn.Conv2d(3, 4, 3))
            assert refusal.value.code == "not-affine"
    finally:
        handle.remove()
    convfold.merge(nn.Conv2d(3, 4, 3))


@pytest.mark.parametrize("hook", [lambda m, args, y: y.relu(), lambda m, args, y: y * args[0].mean()])
def test_hooks_that_are_not_affine(hook: Any) -> None:
    conv = nn.Conv2d(3, 3, 1)
    conv.register_forward_hook(hook)
    for read in (convfold.merge, convfold.Convolution.of):
        with refused("not-affine"):
            read(conv)


def assigned(**attributes: Any) -> Change:
    def change(m: nn.Module) -> None:
        for name, value in attributes.items():
            if isinstance(value, Tensor) and name in m._parameters:
                delattr(m, name)  # a plain tensor in its place
            setattr(m, name, value)

    return change


def drawn(*shape: int) -> Tensor:
    return noise(*shape, seed=5)


REFLECTS = {"padding": 1, "padding_mode": "reflect"}

#: The layer, what is changed, and whether it is a convolution then.
CHANGED: dict[str, tuple[Callable[[], nn.Module], Change, bool]] = {
    "stride": (lambda: nn.Conv2d(3, 4, 3, padding=1), assigned(stride=2), True),
    "padding": (lambda: nn.Conv2d(3, 4, 3), assigned(padding=(2, 1)), True),
    "padding by name": (lambda: nn.Conv2d(3, 4, 3), assigned(padding="same"), True),
    "dilation": (lambda: nn.Conv2d(3, 4, 2), assigned(dilation=(2, 3)), True),
    "groups": (lambda: nn.Conv2d(3, 4, 2, bias=False), assigned(groups=3, weight=drawn(6, 1, 2, 3)), True),
    "no bias": (lambda: nn.Conv2d(3, 4, 3), assigned(bias=None), True),
    "weight of another size": (lambda: nn.Conv2d(3, 4, 3), assigned(weight=drawn(4, 3, 1, 2)), True),
    "a mode, padded": (lambda: nn.Conv2d(3, 4, 3, padding=1), assigned(padding_mode="replicate"), False),
    "a mode, not padded": (lambda: nn.Conv2d(3, 4, 3), assigned(**REFLECTS), True),
    "padding under a mode": (lambda: nn.Conv2d(3, 4, 3, **REFLECTS), assigned(padding=0), False),
    "zeros after a mode": (lambda: nn.Conv2d(3, 4, 3, **REFLECTS), assigned(padding_mode="zeros", padding=2), True),
    "transposed": (
        lambda: nn.ConvTranspose2d(3, 4, 3, stride=2),
        assigned(padding=(1, 2), output_padding=(1, 0)),
        True,
    ),
    "eps": (lambda: nn.BatchNorm2d(3), assigned(eps=0.5, weight=None), True),
    "statistics": (lambda: nn.BatchNorm2d(3), assigned(running_mean=drawn(3)), True),
    "not tracked, batch norm": (lambda: nn.BatchNorm2d(3), assigned(track_running_stats=False), True),
    "linear": (lambda: nn.Linear(7, 4), assigned(weight=drawn(5, 7), bias=None), True),
}


@pytest.mark.parametrize("name", CHANGED)
def test_attributes_changed_after_construction(name: str) -> None:
    """Read as torch's forward reads them."""
    make, change, one = CHANGED[name]
    m = double(make())
    change(m)
    shapes = [(7,)] if name == "linear" else [(3, 7, 6), (3, 4, 5)]
    if one:
        assert_read(m, *shapes)
        return
    with refused("padding-mode"):
        convfold.Convolution.of(m)
    with torch.no_grad():
        for shape in shapes:
            assert_close(convfold.merge(m)(noise(2, *shape)), m(noise(2, *shape)))


def test_an_instance_norm_that_stops_tracking() -> None:
    norm = double(nn.InstanceNorm2d(3, track_running_stats=True))
    assert_read(norm, (3, 5, 4))
    norm.track_running_stats = False  # its statistics are still there, and it uses the input's
    with refused("training-mode"):
        convfold.merge(norm)


class Counting(nn.Module):
    """Writes into whatever it can."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(3))
        self.count, self.last = 0, None
        self.seen: dict[str, Any] = {}

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.count += 1
        self.mean.mul_(0.9).add_(x.detach().mean((0, *range(2, x.dim()))), alpha=0.1)
        self.last = x
        self.seen["x"] = x
        self.conv.new = self.count
        torch.rand(1)
        y: Tensor = self.conv(x)
        return y


@pytest.mark.filterwarnings("ignore:.*assigned during export")
def test_nothing_is_left_behind() -> None:
    net = double(Counting())
    state, random = {name: t.clone() for name, t in net.state_dict().items()}, torch.get_rng_state()
    merged = convfold.merge(net, nn.BatchNorm2d(4, dtype=torch.float64).eval())
    convfold.Convolution.of(net)
    assert torch.equal(torch.get_rng_state(), random)
    assert (net.count, net.last, net.seen) == (0, None, {}) and not hasattr(net.conv, "new")
    assert all(torch.equal(t, state[name]) for name, t in net.state_dict().items())
    assert not net._forward_hooks and not net.conv._forward_hooks
    x = noise(2, 3, 6, 5)
    with torch.no_grad():
        assert_close(merged(x), net(x) / (1 + 1e-5) ** 0.5)


@pytest.mark.filterwarnings("ignore:.*assigned during export")
@pytest.mark.parametrize("norm", [parametrizations.spectral_norm, nn.utils.spectral_norm])
def test_a_weight_that_every_call_changes(norm: Any) -> None:
    """Spectral norm in training mode goes on with its iteration: no constant weight, and not touched by asking."""
    conv = norm(nn.Conv2d(3, 4, 3))
    before = {name: t.clone() for name, t in conv.state_dict().items()}
    for read in (convfold.merge, convfold.Convolution.of):
        with refused("not-affine"):
            read(conv)
    assert all(torch.equal(t, before[name]) for name, t in conv.state_dict().items())
    convfold.merge(conv.eval())


def test_a_tensor_that_a_block_keeps_is_no_weight() -> None:
    """What it has seen may have a history; the merged layer is a layer with parameters all the same."""
    net = Counting().eval()
    net(torch.randn(1, 3, 5, 5, requires_grad=True))
    assert net.last is not None and net.last.requires_grad
    assert len(list(convfold.merge(net).parameters())) == 2


@pytest.mark.parametrize(
    "lazy", [nn.LazyConv2d(4, 3), nn.LazyLinear(4), nn.LazyBatchNorm2d(), nn.LazyConvTranspose2d(4, 3)]
)
@pytest.mark.parametrize("inside", [lambda m: m, nn.Sequential, Residual])
def test_weights_without_a_shape(lazy: nn.Module, inside: Callable[[nn.Module], nn.Module]) -> None:
    m = inside(lazy).eval()
    for use in (
        lambda: convfold.merge(m),
        lambda: convfold.merge(nn.Conv2d(3, 3, 1), m),
        lambda: convfold.Convolution.of(m),
        lambda: convfold.fold(m, torch.randn(1, 3, 4, 4)),
    ):
        with pytest.raises(InvalidInput, match="has no weights yet; run the model once on an input") as refusal:
            use()
        assert type(lazy).__name__ in str(refusal.value) and "\n" not in str(refusal.value)


def test_weights_that_got_their_shape() -> None:
    net = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2))
    net(torch.randn(2, 3, 5, 5))
    assert_read(double(net[:2]), (3, 6, 5))
