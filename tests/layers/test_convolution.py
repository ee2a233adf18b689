"""nn.Conv1d-3d; aten conv1d-3d and their .padding overloads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convfold
from tests.folding import Net, double, noise
from tests.laws.oracle import assert_close
from tests.layers.table import CONV, NORM, SPACE, Case, check


def cut(dims: int, *sizes: int) -> tuple[int, ...]:
    return sizes[:dims]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_beside_a_batch_norm(dims: int) -> None:
    conv, norm, shape, one = CONV[dims], NORM[dims], (4, *SPACE[dims]), {f"conv{dims}d": 1}
    padded = {**one, "constant_pad_nd": 1}

    def after(name: str, calls: dict[str, int] = one, **options: Any) -> Case:
        size = options.pop("size", cut(dims, 3, 2, 1))
        layer = conv(4, options.pop("c_out", 6), size, **options)
        return Case(name, nn.Sequential(layer, norm(layer.out_channels)), shape, calls, merges=True)

    check(
        [
            after("plain"),
            after("no bias", bias=False),
            after("one tap", size=1),
            after("even", size=cut(dims, 2, 4, 2)),
            after("strided", stride=cut(dims, 2, 3, 2)),
            after("stride as a number", stride=2),
            after("padded", padding=cut(dims, 2, 1, 3)),
            after("dilated", dilation=cut(dims, 2, 3, 1), size=cut(dims, 3, 2, 2)),
            after("everything", stride=cut(dims, 2, 1, 2), padding=cut(dims, 1, 3, 0), dilation=2, size=2, groups=2),
            after("grouped", groups=2),
            after("depthwise", groups=4, c_out=4),
            after("depthwise, two each", groups=4, c_out=8),
            after("valid", padding="valid"),
            after("same", padding="same", size=3),
            after("same, one tap", padding="same", size=1),
            after("same, dilated", padding="same", size=3, dilation=2),
            after("same, even", padded, padding="same", size=cut(dims, 4, 2, 2)),
            after("same, even, dilated evenly", padding="same", size=cut(dims, 4, 2, 2), dilation=2),
            Case("norm first", nn.Sequential(norm(4), conv(4, 6, cut(dims, 3, 2, 1))), shape, one, merges=True),
            Case("norm first, grouped", nn.Sequential(norm(4), conv(4, 6, 2, groups=2)), shape, one, merges=True),
            Case("norms around", nn.Sequential(norm(4), conv(4, 6, 2, stride=2), norm(6)), shape, one, merges=True),
        ]
    )


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_beside_another_convolution(dims: int) -> None:
    conv, space, one = CONV[dims], SPACE[dims], {f"conv{dims}d": 1}
    size = cut(dims, 3, 2, 1)

    def two(name: str, a: nn.Module, b: nn.Module, c: int, calls: dict[str, int] | None = one) -> Case:
        return Case(name, nn.Sequential(a, b), (c, *space), calls, merges=True)

    def left(name: str, a: nn.Module, b: nn.Module, c: int, code: str, merges: bool | str) -> Case:
        return Case(name, nn.Sequential(a, b), (c, *space), {f"conv{dims}d": 2}, code=code, merges=merges)

    check(
        [
            two("into one tap", conv(3, 8, size, padding=1), conv(8, 2, 1), 3),
            two("from one tap", conv(2, 8, 1), conv(8, 3, size), 2),
            two("from one tap without bias, padded", conv(2, 8, 1, bias=False), conv(8, 3, size, padding=1), 2),
            two("from one tap, padded itself", conv(2, 8, 1, padding=1), conv(8, 3, 3), 2),
            two("one tap, strided, both", conv(2, 8, 1, stride=2), conv(8, 3, 1, stride=cut(dims, 2, 1, 1)), 2),
            two("strided, then one tap", conv(2, 8, size, stride=2, padding=1), conv(8, 3, 1), 2),
            two("wide between narrow", conv(1, 16, 2), conv(16, 1, 2), 1),
            two("depthwise both", conv(4, 4, cut(dims, 2, 2, 1), groups=4), conv(4, 4, 1, groups=4), 4),
            two("groups that divide", conv(4, 8, size, groups=4, bias=False), conv(8, 2, 1, groups=2), 4),
            left(
                "padded twice, dear",
                conv(3, 2, 3, padding=1),
                conv(2, 3, 3, padding=1),
                3,
                "does-not-pay",
                "ghost-depends-on-data",
            ),
            Case(
                "padded twice, wide between narrow",  # one for all; edges and corners are added in place, not followed
                nn.Sequential(conv(1, 16, 3, padding=1), conv(16, 1, cut(dims, 3, 2, 1), padding=cut(dims, 1, 2, 1))),
                (1, *space),
                one,
                merges="ghost-depends-on-data",
            ),
            Case(
                "bias, then padding: the ring is corrected",
                nn.Sequential(conv(3, 4, 1), conv(4, 3, 3, padding=1)),
                (3, *SPACE[dims]),
                {f"conv{dims}d": 1, "add": 1},
                merges="ghost-is-constant",
            ),
            left("dear", conv(6, 2, 3), conv(2, 6, 3), 6, "does-not-pay", True),
            left("depthwise, pointwise", conv(4, 4, 3, groups=4), conv(4, 4, 1), 4, "does-not-pay", True),
        ]
    )


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_padding_modes(dims: int) -> None:
    """A copying pad stays; what follows folds behind it, and what treats all positions alike moves behind it too.

    What reads neighbours may not, but in a circle: there what is periodic stays so.
    """
    conv, norm, shape = CONV[dims], NORM[dims], (4, *SPACE[dims])
    cases = []
    for mode in ("reflect", "replicate", "circular"):
        pad = cut(dims, 2, 1, 2)
        cases += [
            Case(
                f"{mode}, then norm",
                nn.Sequential(conv(4, 5, 3, padding=pad, padding_mode=mode), norm(5)),
                shape,
                layers=1,
                merges=True,
                of=False,
            ),
            Case(
                f"{mode}, then one tap",
                nn.Sequential(conv(4, 8, 3, padding=pad, stride=2, padding_mode=mode), conv(8, 2, 1)),
                shape,
                layers=1,
                merges=True,
                of=False,
            ),
            Case(
                f"{mode} second",
                nn.Sequential(conv(4, 4, 1), conv(4, 5, 3, padding=pad, padding_mode=mode), norm(5)),
                shape,
                layers=1,
                merges=True,
                of=False,
            ),
            Case(
                f"{mode}, then zeros",
                nn.Sequential(conv(4, 4, 3, padding=pad, padding_mode=mode), conv(4, 4, 3, padding=1)),
                shape,
                code="padding-mode",
                merges="padding-mode",
            ),
            Case(
                f"{mode} twice",
                nn.Sequential(
                    conv(1, 16, 3, padding=1, padding_mode=mode), conv(16, 1, 3, padding=pad, padding_mode=mode)
                ),
                (1, *SPACE[dims]),
                {f"conv{dims}d": 1, "pad": 1} if mode == "circular" else {f"conv{dims}d": 2, "pad": 2},
                code="padding-mode",
                merges=True if mode == "circular" else "padding-mode",
                of=False,
            ),
            Case(
                f"{mode} twice, longer between",  # a circle padded to another length is a circle no more
                nn.Sequential(
                    conv(1, 16, 3, padding=2, padding_mode=mode), conv(16, 1, 3, padding=1, padding_mode=mode)
                ),
                (1, *SPACE[dims]),
                {f"conv{dims}d": 2, "pad": 2},
                code="padding-mode",
                merges="padding-mode",
            ),
            Case(
                f"neighbours, then {mode}",
                nn.Sequential(conv(4, 4, 2), conv(4, 4, 3, padding=pad, padding_mode=mode)),
                shape,
                layers=2,
                code="padding-mode",
                merges="padding-mode",
            ),
            Case(
                f"{mode} of nothing",
                nn.Sequential(conv(4, 5, 3, padding_mode=mode), norm(5)),
                shape,
                layers=1,
                merges=True,
            ),
            Case(
                f"{mode}, same",
                nn.Sequential(conv(4, 5, 3, padding="same", padding_mode=mode), norm(5)),
                shape,
                layers=1,
            ),
        ]
    check(cases)


def test_functional_spellings() -> None:
    """Strings, numbers, lists; weights straight from parameters; positional and by name."""
    w, v, b = nn.Parameter(torch.randn(4, 3, 3, 2)), nn.Parameter(torch.randn(2, 4, 1, 1)), nn.Parameter(torch.randn(4))

    def functional(*args: Any, **options: Any) -> Net:
        return Net(lambda m, x: F.conv2d(F.conv2d(x, m.w, *args, **options), m.v), w=w, v=v, b=b)

    shape, one = (3, 7, 10), {"conv2d": 1}
    check(
        [
            Case("bare", functional(), shape, one),
            Case("positional", functional(None, 2, 1), shape, one),
            Case("by name", functional(stride=(2, 1), dilation=[1, 2]), shape, one),
            Case("string", functional(padding="same"), shape, {"conv2d": 1, "constant_pad_nd": 1}),
            Case("bias", Net(lambda m, x: F.conv2d(F.conv2d(x, m.w, m.b), m.v, m.b[:2]), w=w, v=v, b=b), shape, one),
            Case(
                "the general convolution",
                Net(
                    lambda m, x: torch.convolution(
                        torch.convolution(x, m.w, m.b, [2, 1], [1, 0], [1, 1], False, [0, 0], 1),
                        m.v, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1,
                    ),
                    w=w, v=v, b=b,
                ),
                shape,
                one,
            ),
        ]
    )  # fmt: skip


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_without_a_batch_axis(dims: int) -> None:
    """(C, *space): the channels come first."""
    net = double(nn.Sequential(CONV[dims](3, 8, 2), CONV[dims](8, 2, 1)))
    x = noise(3, *SPACE[dims])
    result = convfold.fold(net, x)
    assert result.report.changed and result.report.after.layers == 1
    with torch.no_grad():
        assert_close(result.module(x), net(x))


def test_lazy_modules_are_read_once_they_have_weights() -> None:
    lazy = nn.LazyConv2d(4, 2)
    with torch.no_grad():
        lazy(torch.zeros(1, 3, 4, 4))

    def step(m: Any, x: Tensor) -> Tensor:
        return m.norm(m.lazy(x))  # type: ignore[no-any-return]

    check([Case("lazy", Net(step, lazy=lazy, norm=nn.BatchNorm2d(4)), (3, 5, 6), {"conv2d": 1})])
