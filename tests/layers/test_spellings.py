"""What can be written in several ways comes to the same: as many multiply-adds, as many operations, equal outputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convfold
from tests.folding import randomised

Spelling = Callable[[Tensor], Tensor]


class Between(nn.Module):
    """One layer, a spelling, another."""

    def __init__(self, before: nn.Module, spelling: Spelling, behind: nn.Module) -> None:
        super().__init__()
        self.before, self.spelling, self.behind = before, spelling, behind

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.behind(self.spelling(self.before(x)))
        return y


def alike(before: nn.Module, behind: nn.Module, x: Tensor, spellings: dict[str, Spelling]) -> tuple[int, int]:
    """The multiply-adds and operations that every spelling comes to."""
    found = {}
    for name, spelling in spellings.items():
        model = Between(before, spelling, behind).eval()
        result = convfold.fold(model, (x,), dynamic_shapes="static", config=convfold.FoldConfig("macs"))
        for seed in range(2):
            y = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
            with torch.no_grad():
                torch.testing.assert_close(result.module(y), model(y), rtol=1e-4, atol=1e-5)
        found[name] = result.report.after.macs, result.report.after.ops
    assert len(set(found.values())) == 1, found
    return next(iter(found.values()))


def crop(n: int) -> dict[str, Spelling]:
    """All but the first and the last of n columns."""
    at = torch.arange(1, n - 1)
    return {
        "slice": lambda x: x[..., 1:-1],
        "from the end": lambda x: x[..., 1 - n : n - 1],
        "narrow": lambda x: x.narrow(-1, 1, n - 2),
        "index_select": lambda x: x.index_select(-1, at),
        "index": lambda x: x[..., at],
        "pad": lambda x: F.pad(x, (-1, -1)),
        "pads": lambda x: F.pad(F.pad(x, (-1, 0)), (0, -1)),
        "split": lambda x: x.split([1, n - 2, 1], -1)[1],
        "tensor_split": lambda x: x.tensor_split([1, n - 1], -1)[1],
        "twice": lambda x: x[..., 1:][..., :-1],
    }


@pytest.mark.parametrize(("padding", "n"), [(0, 8), (1, 10)])
def test_a_crop(padding: int, n: int) -> None:
    """Behind a convolution it is a pad that is smaller; two convolutions beside it are one."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(2, 8, 3, padding=padding), nn.Conv2d(8, 2, (1, 3))
    assert alike(first, second, torch.randn(1, 2, 10, 10), crop(n))[1] == (1 if padding else 2)


def test_one_position() -> None:
    torch.manual_seed(0)
    one = {
        "slice": lambda x: x[:, :, 2:3],
        "select, unsqueeze": lambda x: x[:, :, 2].unsqueeze(2),
        "select, view": lambda x: x.select(2, 2).reshape(1, 4, 1, 10),
        "unbind": lambda x: x.unbind(2)[2][:, :, None],
        "chunk": lambda x: x.chunk(10, 2)[2],
        "narrow": lambda x: x.narrow(2, 2, 1),
        "index_select": lambda x: x.index_select(2, torch.tensor([2])),
        "pad": lambda x: F.pad(x, (0, 0, -2, -7)),
    }
    found = alike(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1), torch.randn(1, 3, 10, 10), one)
    assert found[1] <= 2


def test_some_channels() -> None:
    torch.manual_seed(0)
    some = {
        "slice": lambda x: x[:, 2:5],
        "narrow": lambda x: x.narrow(1, 2, 3),
        "index_select": lambda x: x.index_select(1, torch.tensor([2, 3, 4])),
        "split": lambda x: x.split([2, 3, 3], 1)[1],
        "pad": lambda x: F.pad(x, (0, 0, 0, 0, -2, -3)),
        "unbind": lambda x: torch.stack(x.unbind(1)[2:5], 1),
    }
    macs, ops = alike(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 2, 1), torch.randn(1, 3, 10, 10), some)
    assert (macs, ops) == (2 * 3 * 9 * 100, 1)


def test_one_channel() -> None:
    torch.manual_seed(0)
    one = {
        "slice": lambda x: x[:, 2:3],
        "select": lambda x: x[:, 2].unsqueeze(1),
        "unbind": lambda x: x.unbind(1)[2][:, None],
        "step": lambda x: x[:, 2::8],
    }
    found = alike(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(1, 2, 1), torch.randn(1, 3, 10, 10), one)
    assert found == ((3 * 9 + 2) * 100, 2)


def focus(x: Tensor) -> Tensor:
    """YOLOX: four slices, in the order of their places."""
    return torch.cat((x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]), 1)


def by_index(x: Tensor) -> Tensor:
    rows, columns = ([torch.arange(k, n, 2) for k in (0, 1)] for n in x.shape[2:])
    parts = [x.index_select(3, j).index_select(2, i) for j in columns for i in rows]
    return torch.cat(parts, 1)


def by_views(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 5, 3, 1, 2, 4).reshape(n, 4 * c, h // 2, w // 2)


def by_unshuffle(x: Tensor) -> Tensor:
    return F.pixel_unshuffle(x, 2)[:, [4 * c + 2 * i + j for j in (0, 1) for i in (0, 1) for c in range(x.shape[1])]]


def test_a_focus() -> None:
    """With a 3×3 behind it: one 6×6 of stride 2."""
    torch.manual_seed(0)
    x = torch.randn(1, 3, 12, 8)
    spellings = {"slices": focus, "index": by_index, "views": by_views, "unshuffle": by_unshuffle}
    assert all(torch.equal(spelling(x), focus(x)) for spelling in spellings.values())
    for taps in (1, 3):
        behind = nn.Conv2d(12, 16, taps, padding=taps // 2)
        assert alike(nn.Identity(), behind, x, spellings) == (16 * 12 * taps * taps * 24, 1)


def haar(x: Tensor) -> Tensor:
    """MWCNN's transform."""
    x01, x02 = x[:, :, 0::2, :] / 2, x[:, :, 1::2, :] / 2
    x1, x2, x3, x4 = x01[:, :, :, 0::2], x02[:, :, :, 0::2], x01[:, :, :, 1::2], x02[:, :, :, 1::2]
    return torch.cat((x1 + x2 + x3 + x4, -x1 - x2 + x3 + x4, -x1 + x2 - x3 + x4, x1 - x2 - x3 + x4), 1)


def haar_by_convolution(x: Tensor) -> Tensor:
    signs = torch.tensor([[1, 1, 1, 1], [-1, 1, -1, 1], [-1, -1, 1, 1], [1, -1, -1, 1]]) / 2.0
    c = x.shape[1]
    y = F.conv2d(x, signs.reshape(4, 1, 2, 2).repeat(c, 1, 1, 1), stride=2, groups=c)
    return y.unflatten(1, (c, 4)).transpose(1, 2).flatten(1, 2)


def test_a_wavelet() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 12, 8)
    torch.testing.assert_close(haar(x), haar_by_convolution(x))
    behind = nn.Conv2d(12, 16, 3, padding=1)
    assert alike(nn.Identity(), behind, x, {"slices": haar}) == (16 * 12 * 9 * 24, 1)


def test_causal() -> None:
    """What is computed and then cut off is not computed; a pad on one side says the same."""
    torch.manual_seed(0)
    conv = nn.Conv1d(4, 6, 3, padding=2, groups=2)
    bare = nn.Conv1d(4, 6, 3, groups=2)
    bare.load_state_dict(conv.state_dict())
    x = torch.randn(2, 4, 20)
    spellings: dict[str, Spelling] = {
        "first L": lambda x: conv(x)[..., : x.shape[-1]],
        "chomp": lambda x: conv(x)[:, :, :-2].contiguous(),
        "pad": lambda x: bare(F.pad(x, (2, 0))),
    }
    macs, _ = alike(nn.Identity(), randomised(nn.BatchNorm1d(6)), x, spellings)
    assert macs == 2 * 20 * 6 * 2 * 3


def test_class_token() -> None:
    """Of a head on one token only that one is computed."""
    torch.manual_seed(0)
    x = torch.randn(2, 7, 12)
    spellings: dict[str, Spelling] = {
        "select": lambda x: x[:, 0],
        "slice": lambda x: x[:, :1].squeeze(1),
        "unbind": lambda x: x.unbind(1)[0],
        "index_select": lambda x: x.index_select(1, torch.tensor([0])).flatten(1),
    }
    macs, _ = alike(nn.Linear(12, 24), nn.Linear(24, 3), x, spellings)
    assert macs == 2 * 12 * 3


def test_cropped_branches() -> None:
    """ACNet: what the crop of a branch's input leaves aligns with the others."""

    class Crossed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.square = nn.Conv2d(4, 6, 3)
            self.rows, self.columns = nn.Conv2d(4, 6, (3, 1)), nn.Conv2d(4, 6, (1, 3))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.square(x) + self.rows(x[..., 1:-1]) + self.columns(x[..., 1:-1, :])
            return y

    torch.manual_seed(0)
    model, x = Crossed().eval(), torch.randn(1, 4, 9, 9)
    result = convfold.fold(model, (x,))
    assert (result.report.after.macs, result.report.after.ops) == (6 * 4 * 9 * 49, 1)
    torch.testing.assert_close(result.module(x), model(x), rtol=1e-4, atol=1e-5)


def test_a_slice_where_the_channels_are_elsewhere() -> None:
    """Behind a permute a convolution's space is on other axes; a slice there is none of its windows."""
    torch.manual_seed(0)
    x = torch.randn(1, 3, 6, 8)
    turned: dict[str, Spelling] = {
        "after": lambda x: x.permute(0, 2, 3, 1)[:, :, 1:5].permute(0, 3, 1, 2),
        "before": lambda x: x[..., 1:5],
        "channels": lambda x: x.permute(3, 2, 1, 0)[1:5].permute(3, 2, 1, 0),
    }
    model = [Between(nn.Conv2d(3, 4, 3, padding=1), f, nn.Conv2d(4, 2, 3)).eval() for f in turned.values()]
    for m in model:
        result = convfold.fold(m, (x,))
        torch.testing.assert_close(result.module(x), m(x), rtol=1e-4, atol=1e-5)


def test_a_shuffle() -> None:
    """Of eight channels, each a quarter of a pixel."""
    torch.manual_seed(0)

    def by_views(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // 4, 2 * h, 2 * w)

    def by_stacks(x: Tensor) -> Tensor:
        rows = [torch.stack([x[:, 2 * i :: 4], x[:, 2 * i + 1 :: 4]], -1).flatten(-2) for i in (0, 1)]
        return torch.stack(rows, -2).flatten(-3, -2)

    x = torch.randn(1, 3, 6, 4)
    y = torch.randn(1, 8, 6, 4)
    spellings = {"pixel_shuffle": lambda x: F.pixel_shuffle(x, 2), "views": by_views}
    assert torch.equal(by_stacks(y), by_views(y))
    assert all(torch.equal(spelling(y), by_views(y)) for spelling in spellings.values())
    alike(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(2, 1, 1), x, spellings)


def test_zeros_between_positions() -> None:
    """Before a blur: one transposed convolution."""
    torch.manual_seed(0)

    def by_views(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return F.pad(x.reshape(n, c, h, 1, w, 1), [0, 1, 0, 0, 0, 1]).reshape(n, c, 2 * h, 2 * w)

    def by_two_views(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = F.pad(x.unsqueeze(-1), [0, 1]).flatten(-2)
        return F.pad(x.reshape(n, c, h, 1, 2 * w), [0, 0, 0, 1]).reshape(n, c, 2 * h, 2 * w)

    def by_convolution(x: Tensor) -> Tensor:
        c = x.shape[1]
        return F.conv_transpose2d(x, torch.ones(c, 1, 1, 1), stride=2, output_padding=1, groups=c)

    x = torch.randn(1, 4, 5, 6)
    spellings = {"views": by_views, "two": by_two_views, "convolution": by_convolution}
    assert all(torch.equal(spelling(x), by_views(x)) for spelling in spellings.values())
    behind = nn.Conv2d(4, 3, 3, padding=1)
    assert alike(nn.Identity(), behind, x, spellings) == (4 * 3 * 9 * 30, 1)


class Patches(nn.Module):
    """What a vision transformer begins with, by a matrix on patches that are laid out first."""

    def __init__(self, size: int, order: str, image: str) -> None:
        super().__init__()
        self.size, self.order, self.image = size, order, image
        self.colours = nn.Conv2d(3, 3, 1)
        self.linear = nn.Linear(size * size * 3, 20)

    def forward(self, x: Tensor) -> Tensor:
        p, x = self.size, self.colours(x)
        x = x.permute(0, 2, 3, 1) if self.image == "nhwc" else x
        n, h, w = x.shape[0], x.shape[self.image.index("h")], x.shape[self.image.index("w")]
        split = {"n": (n,), "c": (3,), "h": (h // p, p), "w": (w // p, p)}
        names = {"n": "n", "c": "c", "h": "hi", "w": "wj"}
        flat = "".join(names[axis] for axis in self.image)
        x = x.reshape([m for axis in self.image for m in split[axis]])
        x = x.permute([flat.index(axis) for axis in f"nhw{self.order}"])
        y: Tensor = self.linear(x.reshape(n, (h // p) * (w // p), -1))
        return y


@pytest.mark.parametrize("image", ["nchw", "nhwc"])
@pytest.mark.parametrize("order", ["ijc", "cij", "jic"])
@pytest.mark.parametrize("free", [False, True])
def test_patches(order: str, image: str, free: bool) -> None:
    """A convolution of the patches' size and stride; what is before it is part of it."""
    torch.manual_seed(0)
    model, x = Patches(4, order, image).eval(), torch.randn(2, 3, 8, 12)
    result = convfold.fold(model, (x,), dynamic_shapes=None if free else "static")
    assert [a.after for a in result.report.applied] == ["1 convolution, 2 layout"]
    assert result.report.after.macs == 2 * 20 * 48 * 6
    with torch.no_grad():
        torch.testing.assert_close(result.module(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("n", "taps"), [(14, 9), (12, 1), (1, 1)])
def test_taps_that_read_zeros(n: int, taps: int) -> None:
    """DeepLab's dilated branches on small maps: but for the middle one no tap is ever inside."""
    torch.manual_seed(0)
    branch = nn.Sequential(nn.Conv2d(4, 3, 3, padding=12, dilation=12, bias=False), nn.BatchNorm2d(3)).eval()
    randomised(branch)
    result = convfold.fold(branch, (torch.randn(2, 4, n, n),))
    assert result.report.after.macs == 2 * 3 * 4 * taps * n * n
    assert result.report.after.ops == 1
    x = torch.randn(2, 4, n, n)
    with torch.no_grad():
        torch.testing.assert_close(result.module(x), branch(x), rtol=1e-4, atol=1e-5)
