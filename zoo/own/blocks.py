"""Single blocks whose collapse is easy to get wrong at the border."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def expanded_linear_block(c_in: int = 16, c_out: int = 16, hidden: int = 64) -> nn.Sequential:
    """1×1 up, 3×3, 1×1 down: ExpandNets, arXiv 1811.10495.

    The 3×3 reads zeros where the first layer would have made its bias: merged naively, the outer
    ring is wrong.
    """
    return nn.Sequential(
        nn.Conv2d(c_in, hidden, 1), nn.Conv2d(hidden, hidden, 3, padding=1), nn.Conv2d(hidden, c_out, 1)
    )


class DiverseBranchBlock(nn.Module):
    """1×1, k×k, 1×1 then k×k, and 1×1 then average pool, each with batch norms, summed: arXiv 2103.13425.

    Around the image the second layer of a branch must see what the first batch norm makes of zero. Padding
    the first, 1×1, layer instead gives exactly that, and every branch collapses exactly.
    """

    def __init__(self, c_in: int = 16, c_out: int = 16, size: int = 3) -> None:
        super().__init__()
        pad = size // 2
        norm = nn.BatchNorm2d
        self.pointwise = nn.Sequential(nn.Conv2d(c_in, c_out, 1, bias=False), norm(c_out))
        self.dense = nn.Sequential(nn.Conv2d(c_in, c_out, size, padding=pad, bias=False), norm(c_out))
        self.series = nn.Sequential(
            nn.Conv2d(c_in, c_in, 1, padding=pad, bias=False),
            norm(c_in),
            nn.Conv2d(c_in, c_out, size, bias=False),
            norm(c_out),
        )
        self.average = nn.Sequential(
            nn.Conv2d(c_in, c_out, 1, padding=pad, bias=False),
            norm(c_out),
            nn.AvgPool2d(size, 1),
            norm(c_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(x) + self.dense(x) + self.series(x) + self.average(x)


_EDGES = {
    "sobel_x": ((1, 0, -1), (2, 0, -2), (1, 0, -1)),
    "sobel_y": ((1, 2, 1), (0, 0, 0), (-1, -2, -1)),
    "laplacian": ((0, 1, 0), (1, -4, 1), (0, 1, 0)),
}


class EdgeBranch(nn.Module):
    """A 1×1 convolution, then one fixed depthwise 3×3 mask with a learnt scale and bias per channel."""

    def __init__(self, c_in: int, c_out: int, mask: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        self.mix = nn.Conv2d(c_in, c_out, 1, padding=1)
        self.scale = nn.Parameter(torch.rand(c_out, 1, 1, 1) + 0.5)
        self.bias = nn.Parameter(torch.rand(c_out) - 0.5)
        self.mask = nn.Buffer(torch.tensor(mask, dtype=torch.float32)[None, None])

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.mix(x), self.scale * self.mask, self.bias, groups=len(self.bias))


class EdgeBlock(nn.Module):
    """3×3, 1×1 then 3×3, and three edge branches, summed: the ECB of ECBSR, doi 10.1145/3474085.3475291.

    As in the paper the 1×1 is padded, so that the next layer sees its bias around the image.
    """

    def __init__(self, c_in: int = 16, c_out: int = 16, hidden: int = 32) -> None:
        super().__init__()
        self.dense = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.series = nn.Sequential(nn.Conv2d(c_in, hidden, 1, padding=1), nn.Conv2d(hidden, c_out, 3))
        self.edges = nn.ModuleList(EdgeBranch(c_in, c_out, mask) for mask in _EDGES.values())

    def forward(self, x: Tensor) -> Tensor:
        y = self.dense(x) + self.series(x)
        for edge in self.edges:
            y = y + edge(x)
        return y


class TenBranches(nn.Module):
    """Five kernels, each without a batch norm and with one, side by side, then 1×1: all is one 5×5 convolution.

    Some pairs of kernels are dearer as one than apart (1×5 and 5×3 take 20 taps, a kernel that holds both 25), so
    joined pair by pair they may end as several, by their order. On 9×16 the block is 728,064 multiply-adds, one
    convolution 115,200.
    """

    def __init__(
        self,
        c_in: int = 4,
        hidden: int = 8,
        c_out: int = 8,
        kernels: Sequence[tuple[int, int]] = ((1, 5), (3, 3), (3, 5), (5, 3), (5, 5)),
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c_in, hidden, (h, w), padding=(h // 2, w // 2)), *norm)
            for h, w in kernels
            for norm in ((), (nn.BatchNorm2d(hidden),))
        )
        self.join = nn.Conv2d(len(self.branches) * hidden, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.cat([branch(x) for branch in self.branches], 1))
