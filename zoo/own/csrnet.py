"""CSRNet, crowd counting, arXiv 1802.10062: VGG-16 to an eighth of the size, and a dilated back end on that."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

#: Widths of VGG-16's first ten convolutions in stages, a 2×2 max pool between two.
FRONT = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512))
#: Widths of the back end "B".
BACK = (512, 512, 512, 256, 128, 64)


def csrnet(front: Sequence[Sequence[int]] = FRONT, back: Sequence[int] = BACK) -> nn.Sequential:
    """3×3 convolutions, each with a ReLU, those of the back end dilated by 2; a 1×1 to the density map."""
    steps: list[nn.Module] = []
    c = 3
    for i, widths in enumerate(front):
        steps += [nn.MaxPool2d(2)] if i else []
        for width in widths:
            steps += [nn.Conv2d(c, width, 3, padding=1), nn.ReLU()]
            c = width
    for width in back:
        steps += [nn.Conv2d(c, width, 3, padding=2, dilation=2), nn.ReLU()]
        c = width
    return nn.Sequential(*steps, nn.Conv2d(c, 1, 1))
