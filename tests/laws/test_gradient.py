"""Kernel and bias of a composition are differentiable in those of its parts: the gradient is the chain's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given, settings
from torch import Tensor, nn

import convfold
from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window
from convfold.errors import NotFoldable
from tests.effort import examples
from tests.laws.generate import Layer, Seeded, legal_spaces, numbers
from tests.laws.oracle import applied, assert_close
from tests.laws.test_parallel import siblings
from tests.laws.test_series import SPACES, pairs

#: outer groups, inner groups, outer windows, inner windows
CASES = [
    (1, 1, (Window(3), Window(2)), (Window(2), Window(3, lo=1, hi=2))),
    (2, 4, (Window(2, stride=2), Window(1)), (Window(3, stride=3), Window(2, dilation=2))),
    (4, 2, (Window(2),), (Window(3),)),
    (2, 3, (Window(3, dilation=2),), (Window(2, upsample=2, lo=1, hi=1),)),
    (1, 1, (Window(3, upsample=2),), (Window(2),)),
    (12, 1, (Window(),), (Window(3),)),
    (1, 12, (Window(3),), (Window(),)),
    (1, 1, (), ()),
    (3, 2, (), ()),
    (1, 1, (Window(1),), (Window(1, stride=2),)),
]


def _leaf(seed: int, *shape: int) -> Tensor:
    return numbers(Seeded.of(seed), *shape).requires_grad_()


@pytest.mark.parametrize(("g_b", "g_a", "b", "a"), CASES)
def test_gradcheck_of_series(g_b: int, g_a: int, b: tuple[Window, ...], a: tuple[Window, ...]) -> None:
    def series(kb: Tensor, bb: Tensor, ka: Tensor, ba: Tensor) -> tuple[Tensor, Tensor]:
        folded = Convolution(kb, bb, g_b, b) @ Convolution(ka, ba, g_a, a)
        assert folded.bias is not None
        return folded.kernel, folded.bias

    assert torch.autograd.gradcheck(
        series,
        (
            _leaf(1, 12, 12 // g_b, *(w.taps for w in b)),
            _leaf(2, 12),
            _leaf(3, 12, 12 // g_a, *(w.taps for w in a)),
            _leaf(4, 12),
        ),
        fast_mode=True,
    )


@pytest.mark.parametrize("join", [Convolution.plus, Convolution.stack])
def test_gradcheck_of_parallel(join: Callable[[Convolution, Convolution], Convolution]) -> None:
    def parallel(ka: Tensor, ba: Tensor, kb: Tensor, bb: Tensor) -> tuple[Tensor, Tensor]:
        a = Convolution(ka, ba, 2, (Window(3, 2, 3, 2, 2, 1),))
        both = join(a, Convolution(kb, bb, 1, (Window(2, 2, 3, 1, 0, 0),)))
        assert both.bias is not None
        return both.kernel, both.bias

    parts = (_leaf(1, 4, 2, 3), _leaf(2, 4), _leaf(3, 4, 4, 2), _leaf(4, 4, 3))
    assert torch.autograd.gradcheck(parallel, parts)


def assert_same_gradients(
    folded: Callable[[], Convolution],
    chain: Callable[[Tensor], Tensor],
    parts: list[Convolution],
    space: tuple[int, ...],
) -> None:
    """d loss / d (every kernel, bias and the input), through the composition and through the chain."""
    leaves = [t for p in parts for t in (p.kernel, p.bias) if t is not None]
    x = numbers(Seeded.of(5), 2, parts[0].c_in, *space).requires_grad_()
    y, expected = folded()(x), chain(x)
    weights = numbers(Seeded.of(6), *y.shape)
    got = torch.autograd.grad((y * weights).sum(), [x, *leaves], allow_unused=True, materialize_grads=True)
    want = torch.autograd.grad((expected * weights).sum(), [x, *leaves], allow_unused=True, materialize_grads=True)
    for g, w in zip(got, want, strict=True):
        assert_close(g, w, "gradient")


def trainable(op: Convolution) -> Convolution:
    bias = None if op.bias is None else op.bias.clone().requires_grad_()
    return Convolution(op.kernel.clone().requires_grad_(), bias, op.groups, op.windows)


@given(pairs())
@settings(max_examples=examples(80))
def test_gradient_of_a_series_is_the_chains(pair: list[Layer]) -> None:
    legal = legal_spaces(pair, SPACES[pair[0].value.dims])
    assume(legal)
    a, b = (trainable(layer.value) for layer in pair)
    try:
        b.after(a, legal[-1])
    except NotFoldable:
        return
    assert_same_gradients(lambda: b.after(a, legal[-1]), lambda x: applied(b, applied(a, x)), [a, b], legal[-1])


@given(siblings())
@settings(max_examples=examples(80))
def test_gradient_of_a_sum_is_the_branches(pair: list[Layer]) -> None:
    legal = legal_spaces(pair, SPACES[pair[0].value.dims])
    assume(legal)
    a, b = (trainable(layer.value) for layer in pair)
    try:
        a.plus(b, legal[-1])
    except NotFoldable:
        return
    assert_same_gradients(lambda: a.plus(b, legal[-1]), lambda x: applied(a, x) + applied(b, x), [a, b], legal[-1])


def test_a_frozen_part_stays_frozen() -> None:
    a, b = Convolution(torch.randn(2, 2), torch.randn(2)), Convolution(torch.randn(2, 2), torch.randn(2))
    folded = b @ a
    assert not folded.kernel.requires_grad and folded.bias is not None and not folded.bias.requires_grad


CHAINS: dict[str, Callable[[], list[nn.Module]]] = {
    "conv, norm, conv": lambda: [
        nn.Conv2d(2, 3, (3, 2), stride=2, padding=1),
        nn.BatchNorm2d(3),
        nn.Conv2d(3, 2, (1, 3)),
    ],
    "grouped, dilated": lambda: [nn.Conv1d(4, 4, 3, groups=2), nn.Conv1d(4, 2, 2, dilation=2, groups=2)],
    "transposed": lambda: [nn.ConvTranspose2d(2, 4, 2, stride=2, groups=2), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 2)],
    "shuffle": lambda: [nn.Conv2d(1, 4, 2), nn.PixelShuffle(2), nn.Conv2d(1, 2, 1)],
    "linear": lambda: [nn.BatchNorm1d(3), nn.Linear(3, 4), nn.Linear(4, 2)],
    "padding of another mode": lambda: [nn.Conv1d(2, 2, 3, padding=1, padding_mode="reflect"), nn.Conv1d(2, 1, 2)],
}


@pytest.mark.parametrize("name", CHAINS)
def test_gradcheck_of_merge(name: str) -> None:
    """In every weight and bias of the chain, a norm's scale and shift among them."""
    modules = [m.double().eval() for m in CHAINS[name]()]
    for m in modules:
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(m.running_mean)
            nn.init.uniform_(m.running_var, 0.5, 2.0)
    names = [(m, name) for m in modules for name, _ in list(m.named_parameters(recurse=False))]
    weights = tuple(torch.randn_like(m.get_parameter(name)).requires_grad_() for m, name in names)
    for m, name in names:
        del m._parameters[name]

    def merged(*given: Tensor) -> tuple[Tensor, ...]:
        for (m, name), t in zip(names, given, strict=True):
            setattr(m, name, t)
        layer = convfold.merge(*modules)
        return tuple(t for t in (layer.weight, layer.bias) if t is not None)

    assert len(merged(*weights)) == 2
    assert torch.autograd.gradcheck(merged, weights)
