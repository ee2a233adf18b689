"""Maps of space between two pointwise layers: one layer is left where constants stay constant or the first has no bias.

With a bias two are left, and the reason is given: sums, pools that count zeros. Maps that are
convolutions too (pools, pads of maps) may then compose with the first, a ring of constants beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch.nn.functional as F
from torch import Tensor, nn

from tests.folding import Net
from tests.layers.table import CONV, Case, check

Step = Callable[[Tensor], Tensor]

SPACE = {1: (8,), 2: (7, 10), 3: (4, 7, 6)}
POOL: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
ADAPTIVE: dict[int, Any] = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}

#: What a bias before a map that does not preserve constants comes to.
APART = {"calls": None, "layers": 2, "code": "ghost-is-constant"}
#: The same where that map makes more of its positions: both layers before it, the second one's bias behind it.
LATE = {"calls": None, "layers": 1}
MIXED = {"layers": 2, "code": "layout-mixes-channels"}


def between(
    name: str,
    step: Step,
    shape: tuple[int, ...],
    space: Iterable[int],
    first: Callable[..., nn.Module],
    second: nn.Module,
    biased: dict[str, Any] | None = None,
    **expected: Any,
) -> list[Case]:
    """The step behind a layer with a bias and behind one without; ``biased``: what is expected instead with one."""
    expected = expected or {"layers": 1}
    cases = []
    for bias in (True, False):
        net = Net(lambda m, x: m.second(step(m.first(x))), first=first(bias=bias), second=second)
        case = Case(f"{name}, {'a' if bias else 'no'} bias", net, shape, space=tuple(space), **expected)
        cases.append(replace(case, **biased) if bias and biased else case)
    return cases


def conv(dims: int) -> Callable[..., nn.Module]:
    return lambda bias: CONV[dims](3, 8, 1, bias=bias)


def linear(bias: bool) -> nn.Module:
    return nn.Linear(3, 8, bias=bias)


def maps(name: str, step: Step, dims: int = 2, biased: dict[str, Any] | None = None, **expected: Any) -> list[Case]:
    """Between two 1×1 convolutions."""
    shape, space = (3, *SPACE[dims]), range(2, 2 + dims)
    return between(name, step, shape, space, conv(dims), CONV[dims](8, 2, 1), biased, **expected)


def tokens(
    name: str, step: Step, *, space: tuple[int, ...] = (5,), biased: dict[str, Any] | None = None, **expected: Any
) -> list[Case]:
    """Between two linear layers; (N, *space, C)."""
    shape, axes = (*space, 3), range(1, 1 + len(space))
    return between(name, step, shape, axes, linear, nn.Linear(8, 2), biased, **expected)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_pools(dims: int) -> None:
    pool, adaptive, kernel = POOL[dims], ADAPTIVE[dims], (3, 2, 2)[:dims]
    kept, composed = {f"conv{dims}d": 1, f"avg_pool{dims}d": 1}, {"calls": {f"conv{dims}d": 1, "add": 1}}
    apart = {"calls": {f"conv{dims}d": 2, f"avg_pool{dims}d": 1}, "code": "ghost-is-constant"}
    resized = {f"conv{dims}d": 1, f"adaptive_avg_pool{dims}d": 1}

    def case(name: str, *args: Any, biased: dict[str, Any] | None = None, **options: Any) -> list[Case]:
        return maps(name, lambda y: pool(y, *args, **options), dims, biased, calls=kept)

    cases = [
        *case("disjoint", kernel),
        *case("overlapping", kernel, 1),
        *case("zeros counted", kernel, 2, 1, biased=composed),
        *case("zeros not counted", kernel, 2, 1, count_include_pad=False),
        *case("over the end", 3, 2, ceil_mode=True),
        *case("over the end, zeros counted", 3, 2, 1, ceil_mode=True, biased=apart),
        *case("over the end, zeros not counted", 3, 2, 1, ceil_mode=True, count_include_pad=False),
        *maps("adaptive, uneven", lambda y: adaptive(y, (4, 3, 5)[:dims]), dims, calls=resized),
        *maps("adaptive, larger", lambda y: adaptive(y, 11), dims, calls=resized),
        *maps("adaptive, to one", lambda y: adaptive(y, 1), dims, calls=resized),
    ]
    if dims > 1:
        cases += [
            *case("by its own number", 3, divisor_override=3**dims),
            *case("by another number", kernel, 2, divisor_override=5, biased={"calls": None}),
            *case("by another number, over the end", 3, 2, 1, True, False, 5, biased=apart),
        ]
    check(cases)


def test_means_and_sums() -> None:
    fc, row = nn.Linear(8, 2), nn.Conv1d(8, 2, 1)
    cases = [
        *maps("mean kept", lambda y: y.mean((2, 3), keepdim=True)),
        *maps("mean kept, from the end", lambda y: y.mean((-1, -2), keepdim=True)),
        *maps("mean of rows kept", lambda y: y.mean(-1, keepdim=True)),
        *between("mean", lambda y: y.mean((2, 3)), (3, 7, 10), (), conv(2), fc),
        *between("mean, from the end", lambda y: y.mean((-2, -1)), (3, 7, 10), (), conv(2), fc),
        *between("mean of rows", lambda y: y.mean(-1), (3, 7, 10), (2,), conv(2), row),
        *between("mean of volumes", lambda y: y.mean((2, 3, 4)), (3, 4, 3, 5), (), conv(3), fc),
        *between("mean, then spread out", lambda y: y.mean(2)[:, None], (3, 9), (), conv(1), fc),
        *between("mean of tokens", lambda y: y.mean(1), (5, 3), (), linear, fc),
        *tokens("mean of tokens kept", lambda y: y.mean(-2, keepdim=True)),
        *between("mean of a map of tokens", lambda y: y.mean((1, 2)), (4, 6, 3), (), linear, fc),
        *maps("sum kept", lambda y: y.sum((2, 3), keepdim=True), biased=APART),
        *maps("sum of columns kept", lambda y: y.sum(-2, keepdim=True), biased=APART),
        *between("sum", lambda y: y.sum((-1, 2)), (3, 7, 10), (), conv(2), fc, APART),
        *between("sum of tokens", lambda y: y.sum(1), (5, 3), (), linear, fc, APART),
    ]
    check(cases)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_pads(dims: int) -> None:
    """Of maps: a zero pad is a convolution, so behind a bias it is exact but for a ring."""

    def case(name: str, pads: tuple[int, ...], mode: str = "constant", **expected: Any) -> list[Case]:
        return maps(name, lambda y: F.pad(y, pads[: 2 * dims], mode=mode), dims, **expected)

    check(
        [
            *case("zeros", (1, 2, 0, 1, 2, 0)),
            *case("zeros on the last axis", (2, 1)),
            *case("zeros and a crop", (-1, 2, 1, -2, -1, 1)),
            *case("crop", (-1, -2, 0, -1, -1, 0)),
            *case("crop of one end", (0, -3)),
            *case("reflected", (1, 2, 2, 0, 1, 1), "reflect"),
            *case("replicated", (1, 2, 4, 0, 0, 1), "replicate"),
            *case("replicated and cropped", (1, -2, 2, -1, 0, 1), "replicate"),
            *case("in a circle", (1, 2, 3, 0, 1, 1), "circular"),
            *maps("nothing", lambda y: F.pad(y, (0, 0)), dims),
            *maps("another value", lambda y: F.pad(y, (1, 0), value=0.5), dims),
        ]
    )


def test_pads_of_tokens() -> None:
    """Of tokens: zeros are no convolution, so a bias stays before them."""
    check(
        [
            *tokens("zeros", lambda y: F.pad(y, (0, 0, 1, 2)), biased=LATE),
            *tokens("zeros around a map", lambda y: F.pad(y, (0, 0, 0, 2, 1, 0)), space=(4, 6), biased=LATE),
            *tokens("crop", lambda y: F.pad(y, (0, 0, -1, -2))),
            *tokens("replicated", lambda y: F.pad(y.mT, (1, 2), mode="replicate").mT),
        ]
    )


def test_crops_flips_and_rolls() -> None:
    both, map_ = (1, 2), (4, 6)
    check(
        [
            *maps("crop", lambda y: y[:, :, 1:-2, 3:]),
            *maps("crop of one axis", lambda y: y[..., :-1]),
            *maps("flip", lambda y: y.flip(2)),
            *maps("flip of both", lambda y: y.flip(-1, -2)),
            *maps("flip of volumes", lambda y: y.flip((2, 4)), 3),
            *maps("roll", lambda y: y.roll((1, -2), (2, 3))),
            *maps("roll of one axis", lambda y: y.roll(-4, 2), 1),
            *maps("flip of a roll of a crop", lambda y: y[:, :, 1:].roll(2, 3).flip(3)),
            *tokens("crop of tokens", lambda y: y[:, 1:]),
            *tokens("flip of tokens", lambda y: y.flip(1)),
            *tokens("flip of tokens, transposed", lambda y: y.mT.flip(-1).mT),
            *tokens("roll of tokens", lambda y: y.roll(2, 1)),
            *tokens("roll of a map of tokens", lambda y: y.roll((-1, 2), both), space=map_),
        ]
    )


def test_expansions() -> None:
    """One position repeated; the layers meet before it."""

    def case(name: str, step: Step, space: tuple[int, int], macs: int, **options: Any) -> list[Case]:
        return between(name, step, (3, *space), (2, 3), conv(2), nn.Conv2d(8, 2, 1), layers=1, macs=macs, **options)

    check(
        [
            *case("of one position", lambda y: y.expand(-1, -1, 4, 5), (1, 1), 6),
            *case("of a row", lambda y: y.expand(-1, -1, 4, -1), (1, 6), 36),
            *case("of a column", lambda y: y.expand(y.shape[0], 8, 6, 4), (6, 1), 36),
            *case("of a mean", lambda y: y.mean((2, 3), True).expand(-1, -1, 5, 6), (5, 6), 6),
            *case(
                "of a mean, resized", lambda y: F.interpolate(y.mean((2, 3), True), (5, 6), mode="bilinear"), (5, 6), 6
            ),
            *tokens("of one token", lambda y: y[:, :1].expand(-1, 7, -1)),
        ]
    )


def test_views_and_permutes() -> None:
    fc, conv1, conv2, conv3 = nn.Linear(8, 2), nn.Conv1d(8, 2, 1), nn.Conv2d(8, 2, 1), nn.Conv3d(8, 2, 1)
    shape = (3, 4, 6)
    check(
        [
            *maps("height and width swapped", lambda y: y.transpose(2, 3)),
            *between("flattened", lambda y: y.flatten(2), shape, (2,), conv(2), conv1),
            *between("to tokens", lambda y: y.flatten(2).transpose(1, 2), shape, (1,), conv(2), fc),
            *between("channels last", lambda y: y.permute(0, 2, 3, 1), shape, (1, 2), conv(2), fc),
            *between("rows as items", lambda y: y.permute(0, 2, 1, 3).flatten(0, 1), shape, (2,), conv(2), conv1),
            *between("one axis as two", lambda y: y.unflatten(3, (2, 3)), shape, (2, 3, 4), conv(2), conv3),
            *between("to a map", lambda y: y.mT.unflatten(2, (4, 6)), (24, 3), (2, 3), linear, conv2),
            *between("to a map, reshaped", lambda y: y.mT.reshape(-1, 8, 4, 6), (24, 3), (2, 3), linear, conv2),
            *tokens("heads and back", lambda y: y.unflatten(-1, (2, 4)).flatten(-2)),
            *tokens("a map and back", lambda y: y.unflatten(1, (2, 3)).flatten(1, 2), space=(6,)),
            *tokens(
                "pooled as a map",
                lambda y: F.avg_pool2d(y.movedim(-1, 1), 2).movedim(1, -1),
                space=(4, 6),
                calls={"linear": 1, "avg_pool2d": 1, "permute": 2},
            ),
            *tokens(
                "resized as a map",
                lambda y: F.interpolate(y.mT.unflatten(2, (2, 3)), scale_factor=2, mode="bicubic").flatten(2).mT,
                space=(6,),
            ),
        ]
    )


def windows(y: Tensor) -> Tensor:
    """Swin's: (N, H, W, C) → (N·H/2·W/3, 6, C)."""
    n, height, width, channels = y.shape
    y = y.view(n, height // 2, 2, width // 3, 3, channels)
    return y.permute(0, 1, 3, 2, 4, 5).reshape(-1, 6, channels)


def unwindowed(y: Tensor) -> Tensor:
    """(N·4, 6, C) → (N, 4, 6, C)"""
    return y.view(-1, 2, 2, 2, 3, y.shape[-1]).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, 6, y.shape[-1])


def test_windows() -> None:
    space = (4, 6)

    def merged(y: Tensor) -> Tensor:
        return y.reshape(-1, 2, 2, 3, 2, y.shape[-1]).mean((2, 4))

    def of_maps(y: Tensor) -> Tensor:
        return y.view(-1, 8, 2, 2, 2, 3).permute(0, 2, 4, 3, 5, 1).reshape(-1, 6, 8)

    there_and_back = tokens("there and back", lambda y: unwindowed(windows(y)), space=space, calls={"linear": 1})
    check(
        [
            *tokens("partition", windows, space=space),
            *there_and_back,
            *tokens("shifted", lambda y: windows(y.roll((-1, -1), (1, 2))), space=space),
            *tokens(
                "shifted and back",
                lambda y: unwindowed(windows(y.roll((-1, -1), (1, 2)))).roll((1, 1), (1, 2)),
                space=space,
                calls={"linear": 1, "roll": 2},
            ),
            *tokens("padded", lambda y: windows(F.pad(y, (0, 0, 0, 1, 1, 0))), space=(3, 5), biased=LATE),
            *tokens("means of windows", merged, space=space),
            *between("partition of maps", of_maps, (3, *space), (1,), conv(2), nn.Linear(8, 2)),
        ]
    )


def test_maps_of_the_channels() -> None:
    """A matrix of theirs, which composes."""
    shape = (3, 4, 5)

    def case(name: str, step: Step, second: nn.Module, layers: int) -> list[Case]:
        return between(name, step, shape, (), conv(2), second, None, layers=layers)

    check(
        [
            *case("mean", lambda y: y.mean(1, keepdim=True), nn.Conv2d(1, 2, 1), 2),  # one channel between is cheaper
            *case("flip", lambda y: y.flip(1), nn.Conv2d(8, 2, 1), 1),
            *case("roll", lambda y: y.roll(3, 1), nn.Conv2d(8, 2, 1), 1),
            *case("more of zeros", lambda y: F.pad(y, (0, 0, 0, 0, 1, 2)), nn.Conv2d(11, 2, 1), 1),
            *case("running sums", lambda y: y.cumsum(1), nn.Conv2d(8, 2, 1), 1),
        ]
    )


def test_steps_that_are_not_alike_for_all_channels() -> None:
    """The channels themselves are split or joined: nothing moves, and the reason is given."""
    shape = (3, 4, 5)

    def case(name: str, step: Step, second: nn.Module, **biased: Any) -> list[Case]:
        left = {"layers": 2, "code": "layout-mixes-channels"}
        return between(name, step, shape, (), conv(2), second, biased or None, **left)

    check(
        [
            *case("roll of everything", lambda y: y.roll(3), nn.Conv2d(8, 2, 1)),
            *case("all positions as channels", lambda y: y.flatten(1), nn.Linear(160, 2)),
            *tokens("channels as tokens", lambda y: y.mT, space=(8,), layers=2, code="does-not-pay", biased=MIXED),
        ]
    )
