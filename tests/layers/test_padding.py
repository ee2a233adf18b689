"""Zero padding and cropping of the space axes: nn.ZeroPad, nn.ConstantPad, F.pad."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.folding import Net, noise
from tests.laws.oracle import assert_close
from tests.layers.calls import read
from tests.layers.table import CONV, NORM, SPACE, Case, check

ZERO: dict[int, type[nn.Module]] = {1: nn.ZeroPad1d, 2: nn.ZeroPad2d, 3: nn.ZeroPad3d}
CONSTANT: dict[int, type[nn.Module]] = {1: nn.ConstantPad1d, 2: nn.ConstantPad2d, 3: nn.ConstantPad3d}


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_before_a_convolution(dims: int) -> None:
    """Uneven padding stays a pad of its own, for no call of a convolution takes it; a norm behind it still folds."""
    conv, zero, shape = CONV[dims], ZERO[dims], (3, *SPACE[dims])
    one, asymmetric = {f"conv{dims}d": 1}, {f"conv{dims}d": 1, "pad": 1}

    def case(name: str, pads: Any, left: dict[str, int], **options: Any) -> Case:
        return Case(name, nn.Sequential(zero(pads), conv(3, 4, 3, **options)), shape, left, merges=True)

    each = (1, 1, 2, 2, 0, 0)[: 2 * dims]
    check(
        [
            case("even", 1, one),
            case("even, by axis", each, one, stride=2),
            case("more than the kernel reaches", 3, one),
            case("even on padding", each, one, padding=1, stride=2),
            case("uneven", (1, 0, 2, 1, 0, 3)[: 2 * dims], asymmetric),
            case("uneven, strided", (0, 1, 0, 1, 0, 1)[: 2 * dims], asymmetric, stride=2),
            case("crops", (-1, 0, 0, -1, -1, -1)[: 2 * dims], asymmetric),
            case("pads and crops", (-1, 2, 1, -2, 1, -1)[: 2 * dims], asymmetric),
            Case(
                "uneven, with a norm",
                nn.Sequential(zero((1, 0, 2, 1, 0, 3)[: 2 * dims]), conv(3, 4, 3), NORM[dims](4)),
                shape,
                asymmetric,
                merges=True,
            ),
            case("nothing", 0, one),
            Case("constant zero", nn.Sequential(CONSTANT[dims](1, 0.0), conv(3, 4, 3)), shape, one, merges=True),
            Case("constant one", nn.Sequential(CONSTANT[dims](1, 1.0), conv(3, 4, 3)), shape, merges="padding-mode"),
            Case("a crop undoes padding", nn.Sequential(zero(1), zero(-1), conv(3, 4, 3)), shape, one, merges=True),
            Case(
                "padding does not undo a crop",
                nn.Sequential(zero(-1), zero(1), conv(3, 4, 3)),
                shape,
                merges="ghost-depends-on-data",
            ),
        ]
    )


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_behind_a_convolution(dims: int) -> None:
    conv, zero, shape = CONV[dims], ZERO[dims], (3, *SPACE[dims])
    pads = (1, 2, 0, 1, 2, 0)[: 2 * dims]
    check(
        [
            Case(
                "behind one tap without bias",
                nn.Sequential(conv(3, 8, 1, bias=False), zero(pads), conv(8, 2, 1)),
                shape,
                layers=1,
                merges=True,
            ),
            Case(
                "behind one tap with a bias",
                nn.Sequential(conv(3, 8, 1), zero(pads), conv(8, 2, 1)),
                shape,
                merges="ghost-is-constant",
            ),
            Case(
                "behind more taps",
                nn.Sequential(conv(3, 8, 3), zero(pads), conv(8, 2, 1)),
                shape,
                merges="ghost-depends-on-data",
            ),
            Case(
                "behind full padding",
                nn.Sequential(conv(3, 8, 3, padding=2, bias=False), zero(pads), conv(8, 2, 1)),
                shape,
                layers=1,
                merges=True,
            ),
            Case(
                "a crop behind",
                nn.Sequential(conv(3, 8, 3, padding=1), zero(-1), conv(8, 2, 1)),
                shape,
                layers=1,
                merges=True,
            ),
        ]
    )


def test_functional_spellings() -> None:
    conv = nn.Conv2d(3, 4, (3, 2))
    one, asymmetric = {"conv2d": 1}, {"conv2d": 1, "pad": 1}

    def case(name: str, pad: Any, left: dict[str, int] | None = None, code: str | None = None) -> Case:
        return Case(
            name,
            Net(lambda m, x: m.norm(m.conv(pad(x))), conv=conv, norm=nn.BatchNorm2d(4)),
            (3, 7, 6),
            left,
            code=code,
        )

    check(
        [
            case("last axis only", lambda x: F.pad(x, (1, 1)), one),
            case("both axes", lambda x: F.pad(x, (0, 1, 2, 0)), asymmetric),
            case("twice", lambda x: F.pad(F.pad(x, (0, 2)), (2, 0, 3, 3)), one),
            case("by name", lambda x: F.pad(x, [1, 1, 0, 0], mode="constant", value=0), one),
            case("with a value", lambda x: F.pad(x, (1, 1), value=0.5)),
            case("by reflection", lambda x: F.pad(x, (1, 1, 2, 0), mode="reflect")),
            case("by repetition", lambda x: F.pad(x, (1, 1, 2, 0), mode="replicate")),
            case("in a circle", lambda x: F.pad(x, (1, 1, 2, 0), mode="circular")),
            case("of the channels", lambda x: F.pad(x[:, :1], (0, 0, 0, 0, 1, 1))),
            case(
                "of the channels, cropped",
                lambda x: F.pad(F.pad(x, (0, 0, 0, 0, 2, 0)), (0, 0, 0, 0, -1, -1)),
            ),
            case("of the batch", lambda x: F.pad(x, (0, 0, 0, 0, 0, 0, 0, 1)), code="padding-mode"),
            case("by half the size", lambda x: F.pad(x, (x.shape[3] // 2, 0)), asymmetric),
        ]
    )


def test_on_tokens() -> None:
    """(N, L, C): the last axis is padded, or the one before it."""
    check(
        [
            Case(
                "the last", Net(lambda m, x: m.b(F.pad(m.a(x), (1, 2))), a=nn.Linear(5, 4), b=nn.Linear(7, 3)), (6, 5)
            ),
            Case(
                "the one before",
                Net(lambda m, x: m.b(F.pad(m.a(x), (0, 0, 1, 2))), a=nn.Linear(5, 4), b=nn.Linear(4, 3)),
                (6, 5),
            ),
            Case(
                "windows of Swin",
                Net(
                    lambda m, x: m.b(F.pad(m.a(x), (0, 0, 0, 2, 0, 1)).roll((-1, -1), (1, 2))),
                    a=nn.Linear(5, 4),
                    b=nn.Linear(4, 3),
                ),
                (3, 6, 5),
            ),
        ]
    )


def test_torch_agrees_that_a_crop_then_a_pad_is_not_nothing() -> None:
    """The oracle of the row above."""
    x = torch.ones(1, 1, 4)
    assert F.pad(F.pad(x, (-1, -1)), (1, 1)).tolist() == [[[0, 1, 1, 0]]]


def test_copies_along_the_last_axis_only() -> None:
    """The axes that get none are said all the same: of four axes torch pads two with copies, not one."""
    x = noise(2, 3, 4, 5)
    y = read(torch.ops.aten.pad.default, x, [0, 1, 0, 0], "reflect")
    assert_close(y, F.pad(x, [0, 1, 0, 0], "reflect"))
