"""Pixel shuffle, pixel unshuffle, channel shuffle: as modules, as calls, and written out in views."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convfold
from tests.folding import Net, noise
from tests.laws.oracle import assert_close
from tests.layers.table import Case, check


def test_between_convolutions() -> None:
    conv = nn.Conv2d
    check(
        [
            Case(
                "shuffle behind one tap",
                nn.Sequential(conv(2, 18, 1, bias=False), nn.PixelShuffle(3), conv(2, 1, 1)),
                (2, 5, 6),
                merges=True,
            ),
            Case(
                "shuffle behind 3×3",
                nn.Sequential(conv(2, 12, 3), nn.PixelShuffle(2), conv(3, 1, 1)),
                (2, 5, 6),
                merges=True,
            ),
            Case(
                "shuffle, norm",
                nn.Sequential(conv(2, 12, 3, padding=1), nn.PixelShuffle(2), nn.BatchNorm2d(3)),
                (2, 5, 6),
                merges=True,
            ),
            Case(
                "norm, shuffle",
                nn.Sequential(nn.BatchNorm2d(8), nn.PixelShuffle(2), conv(2, 3, 1)),
                (8, 5, 6),
                merges=True,
            ),
            Case(
                "shuffle, then 3×3",
                nn.Sequential(conv(2, 8, 1), nn.PixelShuffle(2), conv(2, 3, 3)),
                (2, 5, 6),
                merges=True,
            ),
            Case(
                "shuffle, then padded 3×3",
                nn.Sequential(conv(2, 8, 3, padding=1), nn.PixelShuffle(2), conv(2, 3, 3, padding=1)),
                (2, 5, 6),
                merges="ghost-depends-on-data",
            ),
            Case(
                "unshuffle, then one tap",
                nn.Sequential(nn.PixelUnshuffle(2), conv(12, 4, 1)),
                (3, 6, 8),
                layers=1,
                merges=True,
            ),
            Case(
                "unshuffle, then 3×3",
                nn.Sequential(nn.PixelUnshuffle(2), conv(12, 4, 3)),
                (3, 6, 8),
                layers=1,
                merges=True,
            ),
            Case(
                "unshuffle, then padded 3×3",
                nn.Sequential(nn.PixelUnshuffle(2), conv(12, 4, 3, padding=1)),
                (3, 6, 8),
                layers=1,  # at a size that two divides; where the size is free, a last odd row would be data
                merges="ghost-depends-on-data",
            ),
            Case(
                "one tap, unshuffle",
                nn.Sequential(conv(3, 2, 1), nn.PixelUnshuffle(2), conv(8, 3, 1)),
                (3, 6, 8),
                merges=True,
            ),
            Case(
                "there and back",
                nn.Sequential(conv(2, 8, 1), nn.PixelShuffle(2), nn.PixelUnshuffle(2), conv(8, 2, 1)),
                (2, 5, 6),
                merges=True,
            ),
            Case(
                "back and there",
                nn.Sequential(nn.PixelUnshuffle(2), nn.PixelShuffle(2), conv(2, 3, 3)),
                (2, 6, 8),
                merges="stride-upsample",
            ),
            Case(
                "EDSR ×4",
                nn.Sequential(conv(2, 8, 3), nn.PixelShuffle(2), conv(2, 8, 3), nn.PixelShuffle(2), conv(2, 1, 3)),
                (2, 6, 7),
                merges=True,
            ),
            Case(
                "shuffle by one",
                nn.Sequential(conv(2, 3, 1), nn.PixelShuffle(1), conv(3, 2, 1)),
                (2, 5, 6),
                {"conv2d": 1},
                merges=True,
            ),
            Case(
                "functional",
                Net(lambda m, x: m.b(F.pixel_shuffle(m.a(x), 2)), a=conv(2, 8, 1), b=conv(2, 1, 1)),
                (2, 5, 6),
            ),
            Case(
                "functional, back",
                Net(lambda m, x: m.b(F.pixel_unshuffle(m.a(x), 2)), a=conv(2, 1, 1), b=conv(4, 2, 1)),
                (2, 6, 8),
            ),
        ]
    )


def test_bias_repeats_with_the_phase() -> None:
    """EDSR's tail: behind a shuffle the bias is one value a phase, not one a channel."""
    net = nn.Sequential(nn.Conv2d(1, 8, 1), nn.PixelShuffle(2), nn.Conv2d(2, 1, 1)).double()
    value = convfold.Convolution.of(net)
    assert value.bias is not None and value.bias.shape == (1, 2, 2)
    x = noise(1, 1, 3, 4)
    with torch.no_grad():
        assert_close(value.to_module()(x), net(x))


def test_channel_shuffle() -> None:
    conv = nn.Conv2d

    def written_out(m: Net, x: Tensor) -> Tensor:
        y = m.a(x)
        n, c, h, w = y.shape
        return m.b(y.view(n, 3, c // 3, h, w).transpose(1, 2).reshape(n, c, h, w))  # type: ignore[no-any-return]

    check(
        [
            Case(
                "between grouped",
                nn.Sequential(conv(6, 6, 1, groups=3), nn.ChannelShuffle(3), conv(6, 6, 1, groups=3)),
                (6, 5, 6),
                merges=True,
            ),
            Case(
                "between dense",
                nn.Sequential(conv(2, 6, 3), nn.ChannelShuffle(2), conv(6, 2, 1)),
                (2, 5, 6),
                {"conv2d": 1},
                merges=True,
            ),
            Case(
                "before a norm",
                nn.Sequential(conv(2, 6, 3), nn.ChannelShuffle(3), nn.BatchNorm2d(6)),
                (2, 5, 6),
                {"conv2d": 1},
                merges=True,
            ),
            Case(
                "twice",
                nn.Sequential(conv(2, 6, 3), nn.ChannelShuffle(3), nn.ChannelShuffle(2)),
                (2, 5, 6),
                {"conv2d": 1},
                merges=True,
            ),
            Case("written out", Net(written_out, a=conv(6, 6, 1, groups=3), b=conv(6, 6, 1, groups=3)), (6, 5, 6)),
        ]
    )


def test_written_out_in_views() -> None:
    def shuffle(m: Net, x: Tensor) -> Tensor:
        y = m.a(x)
        n, c, h, w = y.shape
        y = y.reshape(n, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // 4, 2 * h, 2 * w)
        return m.b(y)  # type: ignore[no-any-return]

    def patches(m: Net, x: Tensor) -> Tensor:
        """Swin's patch merging: a strided slice a phase, channels last."""
        y = torch.cat([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], -1)
        return m.b(m.a(y))  # type: ignore[no-any-return]

    check(
        [
            Case("shuffle", Net(shuffle, a=nn.Conv2d(2, 8, 1), b=nn.Conv2d(2, 1, 1)), (2, 5, 6)),
            Case("patch merging", Net(patches, a=nn.Linear(12, 16), b=nn.Linear(16, 3)), (4, 6, 3)),
        ]
    )


@pytest.mark.parametrize(
    "module",
    [nn.PixelShuffle(2), nn.PixelUnshuffle(2), nn.PixelUnshuffle(1), nn.ChannelShuffle(4), nn.ChannelShuffle(1)],
)
def test_as_modules(module: nn.Module) -> None:
    x = noise(2, 8, 6, 4)
    value = convfold.Convolution.of(module, channels=8)
    assert_close(value.to(torch.float64)(x) if value.dims else value.lifted(2).to(torch.float64)(x), module(x))


@pytest.mark.parametrize("groups", [2, 3])
def test_stays_on_the_axis_it_names(groups: int) -> None:
    """The model's own call is no call for the same channels elsewhere: behind a permute they are on another axis."""

    def network(move: Callable[[Tensor], Tensor]) -> nn.Module:
        def forward(m: Net, x: Tensor) -> tuple[Tensor, Tensor]:
            y = m.scale(x.relu()) * 2 - 1  # read twice: it is kept, and the move stays one
            return y, m.norm(move(y).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

        return Net(forward, scale=nn.BatchNorm2d(6), norm=nn.LayerNorm(6)).double().eval()

    for move in (lambda y: F.channel_shuffle(y, groups), lambda y: y[:, [0, 3, 1, 5, 2, 4]]):
        net = network(move)
        for shape in ((2, 6, 2, 4), (1, 6, 6, 6)):
            x = noise(*shape)
            for objective in ("time", "macs"):
                config = convfold.FoldConfig(objective, verify=False)
                result = convfold.fold(net, x, dynamic_shapes="static", config=config)
                with torch.no_grad():
                    for got, expected in zip(result.module(x), net(x), strict=True):
                        assert_close(got, expected)
