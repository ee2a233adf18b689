"""nn.ConvTranspose1d-3d; aten conv_transpose1d-3d."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.folding import Net
from tests.layers.table import CONV, NORM, SPACE, TRANSPOSED, Case, check


def cut(dims: int, *sizes: int) -> tuple[int, ...]:
    return sizes[:dims]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_beside_a_batch_norm(dims: int) -> None:
    transposed, norm = TRANSPOSED[dims], NORM[dims]
    shape = (4, *(n - 2 for n in SPACE[dims]))

    def after(name: str, **options: Any) -> Case:
        layer = transposed(4, options.pop("c_out", 6), options.pop("size", cut(dims, 3, 2, 3)), **options)
        return Case(name, nn.Sequential(layer, norm(layer.out_channels)), shape, layers=1, merges=True)

    check(
        [
            after("stride 1", stride=1),
            after("strided", stride=2),
            after("strides that differ", stride=cut(dims, 3, 1, 2)),
            after("no bias", stride=2, bias=False),
            after("padded", stride=2, padding=cut(dims, 1, 0, 1)),
            after("padded past the kernel", stride=2, padding=cut(dims, 3, 2, 3)),
            after("output padding", stride=cut(dims, 2, 3, 2), padding=1, output_padding=cut(dims, 1, 2, 0)),
            after("dilated", stride=2, dilation=cut(dims, 2, 3, 2)),
            after("output padding below the dilation", stride=1, dilation=3, output_padding=cut(dims, 2, 1, 0)),
            after("grouped", stride=2, groups=2),
            after("depthwise", stride=2, groups=4, c_out=4),
            after("as many in as out", stride=2, c_out=4),
            after("larger stride than kernel", stride=4, size=2),
            after("stride of its size", stride=2, size=2),
            after("one tap, strided", stride=2, size=1),
            Case(
                "norm first: its shift would differ from phase to phase, a pass over the larger map",
                nn.Sequential(norm(4), transposed(4, 6, 3, stride=2, padding=1)),
                shape,
                code="does-not-pay",
                merges=True,
            ),
        ]
    )


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_beside_a_convolution(dims: int) -> None:
    conv, transposed = CONV[dims], TRANSPOSED[dims]
    space = tuple(n - 2 for n in SPACE[dims])
    options = {"stride": 2, "padding": 1, "output_padding": 1}
    check(
        [
            Case(
                "then one tap",
                nn.Sequential(transposed(3, 8, 3, **options), conv(8, 2, 1)),
                (3, *space),
                layers=1,
                merges=True,
            ),
            Case(
                "after one tap",
                nn.Sequential(conv(2, 8, 1, bias=False), transposed(8, 3, 3, **options)),
                (2, *space),
                layers=1,
                merges=True,
            ),
            Case(
                "after one tap with a bias",
                nn.Sequential(conv(2, 8, 1), transposed(8, 3, 2, stride=2)),
                (2, *space),
                layers=1,
                merges=True,
            ),
            Case(
                "a stride the upsampling undoes",
                nn.Sequential(transposed(2, 4, 2, stride=2), conv(4, 2, 1, stride=2)),
                (2, *space),
                layers=1,
                merges=True,
            ),
            Case(
                "upsampling after a stride",
                nn.Sequential(conv(2, 4, 2, stride=2), transposed(4, 2, 2, stride=2)),
                (2, *space),
                layers=2,
                code="stride-upsample",
                merges="stride-upsample",
            ),
        ]
    )


def test_functional_spellings() -> None:
    w, v, b = nn.Parameter(torch.randn(3, 4, 3, 2)), nn.Parameter(torch.randn(2, 4, 1, 1)), nn.Parameter(torch.randn(4))

    def functional(*args: Any, **options: Any) -> Net:
        return Net(lambda m, x: F.conv2d(F.conv_transpose2d(x, m.w, *args, **options), m.v), w=w, v=v, b=b)

    def general(m: Any, x: Any) -> Any:
        return F.conv2d(torch.convolution(x, m.w, m.b, [2, 2], [1, 0], [1, 1], True, [1, 0], 1), m.v)

    shape = (3, 5, 6)
    sized = Net(
        lambda m, x: m.v(m.t(x, output_size=(10, 12))), t=nn.ConvTranspose2d(3, 4, 3, 2, 1), v=nn.Conv2d(4, 2, 1)
    )
    check(
        [
            Case("bare", functional(), shape, layers=1),
            Case("positional", functional(None, 2, 1, 1), shape, layers=1),
            Case("by name", functional(stride=(2, 3), padding=[0, 1]), shape, layers=1),
            Case("output_size", sized, shape, layers=1),
            Case("the general convolution", Net(general, w=w, v=v, b=b), shape, layers=1),
        ]
    )  # fmt: skip
