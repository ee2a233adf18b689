"""The identities the project began with, through the algebra and through `convfold.merge`.

Two convolutions in a row are one. W1 (M, I, *k1), W2 (O, M, *k2) in PyTorch's layout, cross-correlation.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convfold
from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window
from convfold.errors import BORDERS
from tests.laws.oracle import CONV, assert_close, refused

MODULE = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
SPACE = {1: (11,), 2: (9, 12), 3: (8, 10, 9)}
ABSOLUTE = {torch.float32: 1e-6, torch.float64: 1e-12}

Weights = tuple[Tensor, Tensor | None, Tensor, Tensor | None]


def of_algebra(w1: Tensor, b1: Tensor | None, w2: Tensor, b2: Tensor | None) -> Callable[[Tensor], Tensor]:
    a, b = (Convolution(w, bias, 1, tuple(Window(t) for t in w.shape[2:])) for w, bias in ((w1, b1), (w2, b2)))
    return b @ a


def of_modules(w1: Tensor, b1: Tensor | None, w2: Tensor, b2: Tensor | None) -> Callable[[Tensor], Tensor]:
    return Convolution.of(module(w2, b2)) @ Convolution.of(module(w1, b1))


def of_merge(w1: Tensor, b1: Tensor | None, w2: Tensor, b2: Tensor | None) -> Callable[[Tensor], Tensor]:
    merged = convfold.merge(module(w1, b1), module(w2, b2))
    assert isinstance(merged, nn.Module)
    return merged


def module(w: Tensor, b: Tensor | None) -> nn.Module:
    made = MODULE[w.dim() - 2](w.shape[1], w.shape[0], tuple(w.shape[2:]), bias=b is not None, dtype=w.dtype)
    with torch.no_grad():
        made.weight.copy_(w)
        if b is not None:
            made.bias.copy_(b)
    return made


def weights(
    i: int, m: int, o: int, k1: tuple[int, ...], k2: tuple[int, ...], dtype: torch.dtype, biases: str = ""
) -> Weights:
    """Unit-scale: Σ|w| = 1 over each output's weights, biases within ±¼; a signal within ±1 stays near there.

    With biases of ±1 a float32 3-D convolution of this size alone rounds by up to 7e-7.
    """
    w1, w2 = torch.randn(m, i, *k1, dtype=dtype), torch.randn(o, m, *k2, dtype=dtype)
    w1, w2 = (w / w.abs().flatten(1).sum(1).reshape(-1, *(1,) * (w.dim() - 1)) for w in (w1, w2))
    b1 = torch.rand(m, dtype=dtype) / 2 - 0.25 if "1" in biases else None
    b2 = torch.rand(o, dtype=dtype) / 2 - 0.25 if "2" in biases else None
    return w1, b1, w2, b2


def assert_merges(way: Callable[..., Callable[[Tensor], Tensor]], parts: Weights, batch: int = 2) -> None:
    w1, b1, w2, b2 = parts
    dims = w1.dim() - 2
    x = 2 * torch.rand(batch, w1.shape[1], *SPACE[dims], dtype=w1.dtype) - 1
    chain = CONV[dims](CONV[dims](x, w1, b1), w2, b2)
    with torch.no_grad():
        got = way(*parts)(x)
    if got.shape != chain.shape or got.dtype != chain.dtype:
        raise AssertionError(f"{tuple(got.shape)} {got.dtype}, expected {tuple(chain.shape)} {chain.dtype}")
    torch.testing.assert_close(got, chain, rtol=0, atol=ABSOLUTE[w1.dtype])


every_way = pytest.mark.parametrize("way", [of_algebra, of_modules, of_merge])
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
every_dims = pytest.mark.parametrize("dims", [1, 2, 3])


def taps(dims: int, *k: int) -> tuple[int, ...]:
    return k[:dims]


@every_way
@every_dtype
@every_dims
@pytest.mark.parametrize(
    ("i", "m", "o", "k1", "k2", "biases"),
    [
        pytest.param(1, 1, 1, (3, 5, 2), (1, 1, 1), "", id="1 one channel, then 1x1"),
        pytest.param(3, 5, 1, (3, 5, 2), (1, 1, 1), "", id="2 many to one, then 1x1"),
        pytest.param(3, 5, 4, (3, 5, 2), (1, 1, 1), "", id="3 many to many, then 1x1"),
        pytest.param(3, 5, 4, (3, 3, 2), (3, 5, 2), "", id="4 any second kernel"),
        pytest.param(3, 5, 4, (3, 3, 2), (3, 5, 2), "2", id="5 a bias in the second"),
        pytest.param(3, 5, 4, (3, 3, 2), (3, 5, 2), "1", id="6 a bias in the first"),
        pytest.param(3, 5, 4, (3, 3, 2), (3, 5, 2), "12", id="7 both"),
        pytest.param(2, 3, 4, (4, 2, 3), (2, 4, 1), "12", id="8 even taps"),
    ],
)
def test_two_are_one(
    way: Callable[..., Callable[[Tensor], Tensor]],
    dtype: torch.dtype,
    dims: int,
    i: int,
    m: int,
    o: int,
    k1: tuple[int, ...],
    k2: tuple[int, ...],
    biases: str,
) -> None:
    assert_merges(way, weights(i, m, o, taps(dims, *k1), taps(dims, *k2), dtype, biases))


def folded(parts: Weights) -> Convolution:
    value = of_algebra(*parts)
    assert isinstance(value, Convolution)
    return value


def test_1_the_kernel_is_scaled_by_a_number() -> None:
    parts = w1, _, w2, _ = weights(1, 1, 1, (3, 5), (1, 1), torch.float64)
    assert_close(folded(parts).kernel, w1 * w2.item())


def test_2_a_weighted_sum_over_the_kernels() -> None:
    parts = w1, _, w2, _ = weights(3, 5, 1, (3, 5), (1, 1), torch.float64)
    assert_close(
        folded(parts).kernel[0],
        sum((w2[0, m, 0, 0] * w1[m] for m in range(5)), torch.zeros(3, 3, 5).double()),
    )


def test_3_one_weighted_sum_an_output() -> None:
    parts = w1, _, w2, _ = weights(3, 5, 4, (3, 5), (1, 1), torch.float64)
    got = folded(parts).kernel
    for o in range(4):
        assert_close(got[o], sum((w2[o, m, 0, 0] * w1[m] for m in range(5)), torch.zeros(3, 3, 5).double()))


@pytest.mark.parametrize(
    ("k1", "k2", "k"),
    [
        ((3, 3), (3, 5), (5, 7)),
        ((2,), (4,), (5,)),
        ((3, 1, 2), (2, 3, 1), (4, 3, 2)),
        ((1, 4), (4, 1), (4, 4)),
    ],
)
def test_4_a_full_correlation_with_the_flipped_second(
    k1: tuple[int, ...], k2: tuple[int, ...], k: tuple[int, ...]
) -> None:
    parts = w1, _, w2, _ = weights(3, 5, 4, k1, k2, torch.float64)
    got = folded(parts)
    assert got.geometry.taps == k
    # The first two axes exchanged, the second flipped, everything padded in full.
    dims = len(k)
    flipped = w2.flip(tuple(range(2, 2 + dims)))
    full = [t - 1 for t in k2]
    assert_close(got.kernel, CONV[dims](w1.transpose(0, 1), flipped, padding=full).transpose(0, 1))
    # And by the definition, tap by tap.
    by_taps = torch.zeros(4, 3, *k, dtype=torch.float64)
    for at in product(*(range(t) for t in k2)):
        here = (..., *(slice(a, a + t) for a, t in zip(at, k1, strict=True)))
        by_taps[here] += torch.einsum("om,mi...->oi...", w2[(..., *at)], w1)
    assert_close(got.kernel, by_taps)


def test_5_and_6_and_7_the_bias() -> None:
    """b = b2 + Σ_{m,t} W2[·, m, t]·b1[m]: the first's bias is a constant map, passed through the second."""
    for biases in ("2", "1", "12"):
        parts = w1, b1, w2, b2 = weights(3, 5, 4, (3, 3), (3, 5), torch.float64, biases)
        expected = torch.zeros(4, dtype=torch.float64) if b2 is None else b2.clone()
        if b1 is not None:
            expected += torch.stack([sum(w2[o, m].sum() * b1[m] for m in range(5)) for o in range(4)])  # type: ignore[arg-type]
        bias = folded(parts).bias
        assert bias is not None
        assert_close(bias, expected)
        assert w1.shape[0] == 5
    assert folded(weights(3, 5, 4, (3, 3), (3, 5), torch.float64)).bias is None


# 9. What the source left out and named as missing: here it is the point.


def chain_of(*layers: nn.Module) -> nn.Sequential:
    """In float64, with weights that are not small."""
    chain = nn.Sequential(*layers).double()
    with torch.no_grad():
        for p in chain.parameters():
            p.copy_(torch.randn_like(p))
    return chain


@every_dims
@pytest.mark.parametrize("through", ["merge", "of"])
@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda c, _: (c(3, 4, 3, padding=1), c(4, 5, 3)), id="first padded"),
        pytest.param(lambda c, _: (c(3, 4, 3, stride=2, padding=1), c(4, 5, 2)), id="first strided"),
        pytest.param(
            lambda c, _: (c(3, 4, 3, stride=2, padding=2, bias=False), c(4, 5, 3, padding=1)),
            id="both padded",
        ),
        pytest.param(lambda c, _: (c(3, 4, 1, bias=False), c(4, 5, 3, padding=2, stride=3)), id="one tap, then padded"),
        pytest.param(lambda c, _: (c(3, 4, 2, dilation=2), c(4, 5, 3, dilation=2)), id="dilated"),
        pytest.param(lambda c, _: (c(4, 6, 2, groups=2), c(6, 4, 3, groups=2)), id="grouped"),
        pytest.param(lambda c, _: (c(6, 6, 2, groups=6), c(6, 6, 3, groups=6)), id="depthwise"),
        pytest.param(lambda c, _: (c(6, 6, 2, groups=3), c(6, 6, 3, groups=2)), id="groups that differ"),
        pytest.param(lambda c, t: (t(3, 4, 4, stride=2, padding=1), c(4, 5, 1)), id="transposed, then one tap"),
        pytest.param(
            lambda c, t: (c(3, 4, 1, bias=False), t(4, 5, 4, stride=2, padding=1)),
            id="one tap, then transposed",
        ),
        pytest.param(
            lambda c, t: (t(4, 6, 3, stride=2, groups=2, bias=False), c(6, 4, 3, padding=1)),
            id="grouped transposed",
        ),
        pytest.param(lambda c, _: (c(3, 4, 3, padding="same"), c(4, 5, 1)), id="same"),
        pytest.param(lambda c, _: (c(3, 4, 3), c(4, 5, 2), c(5, 2, 3, stride=2)), id="three"),
    ],
)
def test_9_the_other_parameters(dims: int, through: str, build: Callable[..., tuple[nn.Module, ...]]) -> None:
    chain = chain_of(*build(MODULE[dims], TRANSPOSED[dims]))
    got = convfold.merge(*chain) if through == "merge" else Convolution.of(chain)
    first = chain[0]
    for space in (SPACE[dims], tuple(n - 1 for n in SPACE[dims])):
        x = torch.randn(2, first.in_channels, *space, dtype=torch.float64)
        with torch.no_grad():
            assert_close(got(x), chain(x), f"{chain} at {space}")


@pytest.mark.parametrize(
    ("layers", "code"),
    [
        (lambda: (nn.Conv2d(3, 4, 3, stride=2), nn.ConvTranspose2d(4, 5, 2, stride=2)), "stride-upsample"),
        (lambda: (nn.Conv2d(3, 4, 3), nn.Conv2d(5, 5, 3)), "channels-differ"),
        (
            lambda: (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.Conv2d(4, 5, 3, padding=1)),
            "padding-mode",
        ),
        (
            lambda: (nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), nn.Conv2d(4, 5, 3, padding=1)),
            "padding-mode",
        ),
        (lambda: (nn.Conv2d(3, 4, 2), nn.Conv2d(4, 5, 3, padding=1, padding_mode="replicate")), "padding-mode"),
        (lambda: [nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect") for _ in range(2)], "padding-mode"),
        (lambda: (nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 1)), "not-affine"),
        (lambda: (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), "training-mode"),
    ],
)
def test_9_what_cannot_be_one_is_refused(layers: Callable[[], tuple[nn.Module, ...]], code: str) -> None:
    """No way of treating the border helps."""
    for border in BORDERS:
        with refused(code):
            convfold.merge(*layers(), border=border)
    with refused(code):
        Convolution.of(nn.Sequential(*layers()))


@every_dims
@pytest.mark.parametrize(
    ("build", "code"),
    [
        pytest.param(lambda c: (c(3, 9, 3, padding=1), c(9, 5, 3, padding=1)), "ghost-depends-on-data", id="twice"),
        pytest.param(lambda c: (c(3, 9, 1), c(9, 5, 3, padding=1)), "ghost-is-constant", id="a bias"),
        pytest.param(lambda c: (c(3, 9, 3, stride=2), c(9, 5, 2, padding=1)), "ghost-depends-on-data", id="strided"),
        pytest.param(
            lambda c: (c(2, 8, 2), c(8, 8, 3, padding="same"), c(8, 2, 2, padding=1, stride=2)),
            "ghost-depends-on-data",
            id="three",
        ),
    ],
)
def test_9_what_reads_beyond_an_end_is_not_one_but_merges(
    dims: int, build: Callable[..., tuple[nn.Module, ...]], code: str
) -> None:
    """Not as a value, which is one convolution; as a module, from the smallest size on."""
    chain = chain_of(*build(MODULE[dims]))
    with refused(code):
        Convolution.of(chain)
    with refused(code):
        Convolution.of(chain[1]) @ Convolution.of(chain[0])
    with refused(code):
        convfold.merge(*chain, border="refuse")
    merged = convfold.merge(*chain)
    least = chain[0].kernel_size[0] - 2 * chain[0].padding[0]
    spaces = [(n,) * dims for n in (max(least, 1), 3, 4, 5, 8)]
    for space in (*spaces, *((*s[:-1], 11) for s in spaces)):
        x = torch.randn(2, chain[0].in_channels, *space, dtype=torch.float64)
        with torch.no_grad():
            assert_close(merged(x), chain(x), f"{chain} at {space}")


@every_dims
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_9_what_treats_all_positions_alike_moves_behind_copies(dims: int, mode: str) -> None:
    """A copy of W·x + b is W·(a copy of x) + b; where the copies come from makes no difference."""
    chain = chain_of(MODULE[dims](3, 7, 1), MODULE[dims](7, 5, (3, 1, 2)[:dims], padding=1, padding_mode=mode))
    merged = convfold.merge(*chain)
    assert isinstance(merged, MODULE[dims]) and merged.padding_mode == mode
    with refused("padding-mode"):
        Convolution.of(chain)
    for space in ((2, 3, 2)[:dims], *(() if mode == "reflect" else [(1,) * dims]), SPACE[dims]):
        x = torch.randn(2, 3, *space, dtype=torch.float64)
        with torch.no_grad():
            assert_close(merged(x), chain(x), f"{mode} at {space}")


@every_dims
def test_9_circles_are_one(dims: int) -> None:
    """What is periodic stays so: nothing ends, and there is no border."""
    conv = MODULE[dims]
    chain = chain_of(
        conv(2, 6, 3, padding=1, padding_mode="circular"),
        conv(6, 6, 3, padding="same", dilation=2, padding_mode="circular"),
        conv(6, 3, 3, padding=1, padding_mode="circular", stride=2),
    )
    merged = convfold.merge(*chain)
    assert isinstance(merged, conv) and merged.padding_mode == "circular"
    for space in ((2, 3, 2)[:dims], (3, 2, 5)[:dims], (4, 5, 4)[:dims], SPACE[dims]):  # together they pad by 4
        x = torch.randn(2, 2, *space, dtype=torch.float64)
        with torch.no_grad():
            assert_close(merged(x), chain(x), f"at {space}")


def test_9_a_padding_mode_without_padding_is_a_convolution() -> None:
    chain = chain_of(nn.Conv2d(3, 4, 3, padding_mode="reflect"), nn.Conv2d(4, 5, (1, 3), padding_mode="circular"))
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    with torch.no_grad():
        assert_close(convfold.merge(*chain)(x), chain(x))


def test_batch_norm_and_linear_are_convolutions_too() -> None:
    norm = nn.BatchNorm2d(4, eps=0.1)
    chain = chain_of(nn.Conv2d(3, 4, 3, padding=1), norm, nn.Conv2d(4, 5, 2)).eval()
    with torch.no_grad():
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        x = torch.randn(2, 3, 6, 7, dtype=torch.float64)
        assert_close(convfold.merge(*chain)(x), chain(x))
        linear = chain_of(nn.Linear(7, 5), nn.Linear(5, 3, bias=False))
        x = torch.randn(2, 7, dtype=torch.float64)
        assert_close(
            convfold.merge(*linear)(x),
            F.linear(F.linear(x, linear[0].weight, linear[0].bias), linear[1].weight),
        )


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_9_padding_modes_stay_with_the_first(mode: str) -> None:
    """Padding that copies data comes before everything, so what follows folds behind it."""
    first = nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode=mode, dtype=torch.float64)
    second = nn.Conv2d(4, 5, (2, 3), dtype=torch.float64)
    merged = convfold.merge(first, second)
    assert isinstance(merged, nn.Conv2d) and merged.padding_mode == mode
    for size in ((5, 6), (7, 9), (4, 5)):
        x = torch.randn(2, 3, *size, dtype=torch.float64)
        torch.testing.assert_close(merged(x), second(first(x)), rtol=0, atol=1e-12)
