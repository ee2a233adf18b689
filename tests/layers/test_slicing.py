"""Runs of channels: aten slice, split, split_with_sizes, chunk, narrow; indexing as it reaches them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.folding import Net, noise
from tests.laws.oracle import assert_close
from tests.layers.calls import read
from tests.layers.table import Case, check

SHAPE = (4, 6, 7)


def test_of_a_convolution() -> None:
    conv, then = nn.Conv2d(4, 6, (3, 2)), nn.Conv2d(2, 1, 1)
    one = {"conv2d": 1}

    def case(name: str, function: object, left: dict[str, int] | None = None) -> Case:
        return Case(name, Net(function, conv=conv, then=then, w=nn.Parameter(torch.randn(6, 1, 1))), SHAPE, left)

    check(
        [
            case("slice", lambda m, x: m.conv(x)[:, 1:3], one),
            case("slice to the end", lambda m, x: m.conv(x)[:, -2:], one),
            case("slice, then one tap", lambda m, x: m.then(m.conv(x)[:, 2:4]), one),
            case("narrow", lambda m, x: m.conv(x).narrow(1, 3, 2), one),
            case("split, one read", lambda m, x: m.conv(x).split(2, 1)[1], one),
            case("split by sizes, one read", lambda m, x: m.conv(x).split([1, 3, 2], 1)[1], one),
            case("chunk, one read", lambda m, x: m.conv(x).chunk(4, 1)[2], one),
            case("a slice of a slice", lambda m, x: m.conv(x)[:, 1:5][:, 1:3], one),
            case("split, all read", lambda m, x: sum(p.relu() for p in m.conv(x).split(2, 1))),
            case("split and joined", lambda m, x: torch.cat(m.conv(x).split([1, 3, 2], 1), 1), one),
            case("split and joined in another order", lambda m, x: torch.cat(m.conv(x).split(2, 1)[::-1], 1)),
            case("split and summed", lambda m, x: sum(m.conv(x).chunk(3, 1)), one),
            case(
                "split, scaled apart",
                lambda m, x: torch.cat([p * (i + 2) for i, p in enumerate(m.conv(x).chunk(3, 1))], 1),
            ),
            case("gated", lambda m, x: F.glu(m.conv(x), 1)),
            case("a slice and the whole", lambda m, x: (y := m.conv(x), y[:, :2].relu() + y.sum(1, keepdim=True))[1]),
            case("scaled, then sliced", lambda m, x: (m.conv(x) * m.w)[:, 1:4], one),
            case("every other", lambda m, x: m.conv(x)[:, ::2]),
            case("by index", lambda m, x: m.conv(x)[:, [4, 1, 1]]),
            case("one channel", lambda m, x: m.conv(x)[:, 3]),
            case("one channel, kept", lambda m, x: m.conv(x)[:, 3:4], one),
            case("index_select", lambda m, x: m.conv(x).index_select(1, torch.tensor([2, 0]))),
            case("select", lambda m, x: m.conv(x).select(1, 2)),
            case("unbind", lambda m, x: m.conv(x).unbind(1)[2]),
            case("flipped", lambda m, x: m.conv(x).flip(1)),
            case("rolled", lambda m, x: m.conv(x).roll(1, 1)),
            case("a crop of the map", lambda m, x: m.conv(x)[:, :, 1:-1, :3]),
            case("every other row", lambda m, x: m.conv(x)[:, :, ::2, 1::2]),
            case("Focus", lambda m, x: torch.cat([x[..., ::2, :6:2], x[..., 1::2, 1::2]], 1)),
            case("of the batch", lambda m, x: m.conv(x)[:1].relu() + m.conv(x)),
            case("nothing cut", lambda m, x: m.conv(x)[:, 0:6], one),
            case("past the end", lambda m, x: m.conv(x)[:, 2:99], one),
        ]
    )


def attention(m: Any, x: Tensor) -> Tensor:
    q, k, v = m.a(x).split(2, -1)
    y: Tensor = (q @ k.transpose(-1, -2)).softmax(-1) @ v
    return y


def half(m: Any, x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return torch.cat([a, m.conv(b)], 1)


def test_of_a_grouped_convolution_a_sum_and_a_linear_layer() -> None:
    grouped = nn.Conv2d(4, 8, (3, 2), groups=2)
    depthwise = nn.Conv2d(4, 4, 3, groups=4)
    check(
        [
            Case("one group", Net(lambda m, x: m.conv(x)[:, 4:], conv=grouped), SHAPE),
            Case("part of a group", Net(lambda m, x: m.conv(x)[:, 1:3], conv=grouped), SHAPE),
            Case("across groups", Net(lambda m, x: m.conv(x)[:, 2:6], conv=grouped), SHAPE),
            Case("of depthwise", Net(lambda m, x: m.conv(x)[:, 1:3], conv=depthwise), SHAPE),
            Case(
                "of a sum",
                Net(lambda m, x: (m.a(x) + m.b(x))[:, 1:3], a=nn.Conv2d(4, 6, 1), b=nn.Conv2d(4, 6, 1)),
                SHAPE,
                {"conv2d": 1},
            ),
            Case(
                "of a concat",
                Net(lambda m, x: torch.cat([m.a(x), m.b(x)], 1)[:, 4:9], a=nn.Conv2d(4, 6, 1), b=nn.Conv2d(4, 6, 1)),
                SHAPE,
            ),
            Case(
                "of one part of a concat",
                Net(
                    lambda m, x: torch.cat([m.a(x), m.b(x.relu())], 1)[:, 6:],
                    a=nn.Conv2d(4, 6, 1),
                    b=nn.Conv2d(4, 6, 1),
                ),
                SHAPE,
                {"conv2d": 1, "relu": 1},
            ),
            Case("of a linear layer", Net(lambda m, x: m.a(x)[..., 1:3], a=nn.Linear(7, 5)), SHAPE, {"linear": 1}),
            Case("queries, keys, values", Net(attention, a=nn.Linear(7, 6)), SHAPE),
            Case(
                "of a transposed convolution",
                Net(lambda m, x: m.a(x)[:, 1:3], a=nn.ConvTranspose2d(4, 5, 3, stride=2)),
                SHAPE,
                layers=1,
            ),
            Case("ShuffleNet", Net(half, conv=nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2))), SHAPE),
        ]
    )


def test_narrowed_from_the_end() -> None:
    """The last three of five by ``narrow``, which is no slice up to position 0."""
    x = noise(2, 5)
    assert_close(read(torch.ops.aten.narrow.default, x, 1, -3, 3), x[:, 2:])
