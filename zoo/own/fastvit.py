"""FastViT in training form, arXiv 2303.14189: MobileOne's branches in residuals, beside large kernels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from .branches import Branches, classifier, conv_norm, mobileone_branches
from .parts import LayerScale, Residual, SqueezeExcite


class RepMixer(nn.Module):
    """``x + λ (mixer(x) − norm(x))``: the mixer is depthwise 3×3, its 1×1 scale branch and its skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mixer = mobileone_branches(channels, channels, 3, groups=channels)
        self.norm = nn.BatchNorm2d(channels)
        self.scale = LayerScale(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale(self.mixer(x) - self.norm(x))


class Attention(nn.Module):
    """Self-attention over all positions, heads of 32 channels."""

    def __init__(self, channels: int, head: int = 32) -> None:
        super().__init__()
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.project = nn.Linear(channels, channels)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)  # (batch, positions, channels)
        q, k, v = self.qkv(tokens).unflatten(2, (3, -1, self.head)).permute(2, 0, 3, 1, 4)  # (batch, heads, …)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.project(y).transpose(1, 2).unflatten(2, x.shape[2:])


def fastvit(
    depths: Sequence[int],
    widths: Sequence[int],
    ratio: int,
    attention: bool = False,
    classes: int = 1000,
) -> nn.Sequential:
    """Stages at a quarter of the size and less; ``attention`` mixes tokens in the last one, `RepMixer` in all others.

    ``ratio``: hidden channels of a block over its own.
    """
    first, last = widths[0], widths[-1]
    steps: list[nn.Module] = [_layer(3, first, 3, 2), _layer(first, first, 3, 2, first), _layer(first, first, 1)]
    for i, (depth, c) in enumerate(zip(depths, widths, strict=True)):
        if i > 0:
            steps += _patches(widths[i - 1], c)
        if attention and i == len(depths) - 1:
            steps.append(Residual(nn.Conv2d(c, c, 7, padding=3, groups=c)))  # conditional positions: arXiv 2102.10882
            mixers: list[nn.Module] = [Residual(nn.BatchNorm2d(c), Attention(c), LayerScale(c)) for _ in range(depth)]
        else:
            mixers = [RepMixer(c) for _ in range(depth)]
        steps += [part for mixer in mixers for part in (mixer, _mlp(c, ratio * c))]
    return nn.Sequential(
        *steps,
        mobileone_branches(last, 2 * last, 3, groups=last),
        SqueezeExcite(2 * last, 2 * last // 16),
        nn.GELU(),
        *classifier(2 * last, classes),
    )


def fastvit_t8() -> nn.Sequential:
    """FastViT-T8, for 256²."""
    return fastvit((2, 2, 4, 2), (48, 96, 192, 384), ratio=3)


def fastvit_sa12() -> nn.Sequential:
    """FastViT-SA12, for 256²."""
    return fastvit((2, 2, 6, 2), (64, 128, 256, 512), ratio=4, attention=True)


def _layer(c_in: int, c_out: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(mobileone_branches(c_in, c_out, size, stride, groups), nn.GELU())


def _patches(c_in: int, c_out: int) -> list[nn.Module]:
    """Half the size: 7×7 and 3×3 side by side, a group an input channel, then 1×1."""
    large = Branches(conv_norm(c_in, c_out, 7, 2, groups=c_in), conv_norm(c_in, c_out, 3, 2, groups=c_in))
    return [large, _layer(c_out, c_out, 1)]


def _mlp(channels: int, hidden: int) -> Residual:
    """Depthwise 7×7 and norm, 1×1 up, GELU, 1×1 down."""
    return Residual(
        *conv_norm(channels, channels, 7, groups=channels),
        nn.Conv2d(channels, hidden, 1),
        nn.GELU(),
        nn.Conv2d(hidden, channels, 1),
        LayerScale(channels),
    )
