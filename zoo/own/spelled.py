"""Published blocks as their authors wrote them: affine, in slices, stacks, views and constants."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Focus(nn.Module):
    """YOLOX: every second position from each of four, laid end to end, then a convolution (github: YOLOX)."""

    def __init__(self, c_in: int = 3, c_out: int = 32) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4 * c_in, c_out, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        corners = x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]
        y: Tensor = self.norm(self.conv(torch.cat(corners, dim=1)))
        return y


class Implicit(nn.Module):
    """YOLOR: a learnt shift, a 1×1 convolution, a learnt scale (ImplicitA and ImplicitM)."""

    def __init__(self, c_in: int = 64, c_out: int = 48) -> None:
        super().__init__()
        self.shift = nn.Parameter(0.02 * torch.randn(1, c_in, 1, 1))
        self.scale = nn.Parameter(1 + 0.02 * torch.randn(1, c_out, 1, 1))
        self.conv = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.scale.expand_as(z := self.conv(self.shift.expand_as(x) + x)) * z
        return y


class Wavelet(nn.Module):
    """MWCNN: Haar's transform by slices, then a 3×3 convolution with a batch norm."""

    def __init__(self, c_in: int = 16, c_out: int = 32) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4 * c_in, c_out, 3, padding=1)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x01, x02 = x[:, :, 0::2, :] / 2, x[:, :, 1::2, :] / 2
        x1, x2, x3, x4 = x01[:, :, :, 0::2], x02[:, :, :, 0::2], x01[:, :, :, 1::2], x02[:, :, :, 1::2]
        low = x1 + x2 + x3 + x4
        high = -x1 - x2 + x3 + x4, -x1 + x2 - x3 + x4, x1 - x2 - x3 + x4
        y: Tensor = self.norm(self.conv(torch.cat((low, *high), 1)))
        return y


class Causal(nn.Module):
    """Mamba: a depthwise convolution padded at both ends, of which the end is cut off."""

    def __init__(self, channels: int = 128, taps: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, taps, padding=taps - 1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)[..., : x.shape[-1]]
        return y


class Temporal(nn.Module):
    """TCN: the same, by a layer of its own, followed by a 1×1 convolution."""

    def __init__(self, c_in: int = 32, c_out: int = 64, taps: int = 3, dilation: int = 4) -> None:
        super().__init__()
        self.chomp = (taps - 1) * dilation
        self.conv = nn.Conv1d(c_in, c_out, taps, padding=self.chomp, dilation=dilation)
        self.norm = nn.BatchNorm1d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x)[:, :, : -self.chomp].contiguous())
        return y


class ClassToken(nn.Module):
    """ViT's head: a linear layer of all tokens, of which the first is read."""

    def __init__(self, width: int = 192, classes: int = 100) -> None:
        super().__init__()
        self.pool, self.head = nn.Linear(width, width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.pool(x)[:, 0])
        return y


class Crossed(nn.Module):
    """ACNet: a square, a row and a column, each with a batch norm; the last two read a crop."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.square = self._branch(channels, (3, 3))
        self.rows, self.columns = self._branch(channels, (3, 1)), self._branch(channels, (1, 3))

    @staticmethod
    def _branch(channels: int, taps: tuple[int, int]) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(channels, channels, taps, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.square(x) + self.rows(x[:, :, :, 1:-1]) + self.columns(x[:, :, 1:-1, :])
        return y


class Shortcut(nn.Module):
    """ResNet's option A: every second position, channels filled up with zeros; beside it a convolution."""

    def __init__(self, c_in: int = 16, c_out: int = 32) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, 2, 1)
        self.more = c_out - c_in

    def forward(self, x: Tensor) -> Tensor:
        half = self.more // 2
        y: Tensor = self.conv(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, self.more - half))
        return y


class Anchored(nn.Module):
    """ABPN: the image, as many times as there are phases, added before the shuffle."""

    def __init__(self, channels: int = 28, rate: int = 3) -> None:
        super().__init__()
        self.rate = rate
        self.conv = nn.Conv2d(channels, 3 * rate**2, 3, padding=1)
        self.last = nn.Conv2d(3 * rate**2, 3 * rate**2, 3, padding=1)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        repeated = torch.cat([image] * self.rate**2, dim=1)
        return F.pixel_shuffle(self.last(self.conv(x)) + repeated, self.rate)


class Blurred(nn.Module):
    """StyleGAN2's upfirdn2d: zeros inserted by views and a pad, then a fixed blur, then a 1×1 convolution."""

    def __init__(self, channels: int = 16, c_out: int = 16) -> None:
        super().__init__()
        k = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.kernel = nn.Buffer((k[:, None] * k[None]) / 16)
        self.conv = nn.Conv2d(channels, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = x.reshape(n, c, h, 1, w, 1)
        x = F.pad(x, [0, 1, 0, 0, 0, 1, 0, 0]).reshape(n, c, 2 * h, 2 * w)
        x = F.pad(x, [2, 1, 2, 1])
        y: Tensor = self.conv(F.conv2d(x, self.kernel.repeat(c, 1, 1, 1), groups=c))
        return y


class Folded(nn.Module):
    """TResNet's stem: blocks of 4×4 positions into channels by a view, a permute and a view, then a convolution."""

    def __init__(self, c_out: int = 64, size: int = 4) -> None:
        super().__init__()
        self.size = size
        self.conv = nn.Conv2d(3 * size * size, c_out, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        (n, c, h, w), k = x.shape, self.size
        x = x.view(n, c, h // k, k, w // k, k).permute(0, 3, 5, 1, 2, 4).contiguous()
        y: Tensor = self.norm(self.conv(x.view(n, c * k * k, h // k, w // k)))
        return y


class Patches(nn.Module):
    """A vision transformer's patches as einops writes them, ``b c (h p) (w q) -> b (h w) (p q c)``, and a matrix."""

    def __init__(self, size: int = 16, width: int = 192) -> None:
        super().__init__()
        self.size, self.linear = size, nn.Linear(3 * size * size, width)

    def forward(self, x: Tensor) -> Tensor:
        (n, c, h, w), p = x.shape, self.size
        x = x.reshape(n, c, h // p, p, w // p, p).permute(0, 2, 4, 3, 5, 1)
        y: Tensor = self.linear(x.reshape(n, (h // p) * (w // p), p * p * c))
        return y


class Grown(nn.Module):
    """A sub-pixel upsampler by views: a 3×3 convolution, channels to positions, a 1×1 convolution."""

    def __init__(self, channels: int = 16, rate: int = 2) -> None:
        super().__init__()
        self.rate = rate
        self.conv = nn.Conv2d(channels, channels * rate * rate, 3, padding=1)
        self.last = nn.Conv2d(channels, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        r, x = self.rate, self.conv(x)
        n, c, h, w = x.shape
        x = x.view(n, c // r**2, r, r, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // r**2, h * r, w * r)
        y: Tensor = self.last(x)
        return y


def _written_over(y: Tensor, pad: int, number: Tensor) -> Tensor:
    """Padded, and end by end written over, as both blocks below do."""
    y, number = F.pad(y, [pad] * 4), number.view(1, -1, 1, 1)
    y[:, :, 0:pad, :] = number
    y[:, :, -pad:, :] = number
    y[:, :, :, 0:pad] = number
    y[:, :, :, -pad:] = number
    return y


class Coordinates(nn.Module):
    """CoordConv: two channels of coordinates and one of the distance, laid beside the input (github: CoordConv)."""

    def __init__(self, c_in: int = 32, c_out: int = 32) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in + 3, c_out, 3, padding=1)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        n, _, x_dim, y_dim = x.size()
        xx = torch.arange(x_dim).repeat(1, y_dim, 1)
        yy = torch.arange(y_dim).repeat(1, x_dim, 1).transpose(1, 2)
        xx, yy = xx.float() / (x_dim - 1) * 2 - 1, yy.float() / (y_dim - 1) * 2 - 1
        xx, yy = (t.repeat(n, 1, 1, 1).transpose(2, 3).type_as(x) for t in (xx, yy))
        radius = torch.sqrt(torch.pow(xx - 0.5, 2) + torch.pow(yy - 0.5, 2))
        y: Tensor = self.norm(self.conv(torch.cat([x, xx, yy, radius], 1)))
        return y


class PaddedNorm(nn.Module):
    """DiverseBranchBlock's BNAndPadLayer: a batch norm, padded with what it gives of zeros."""

    def __init__(self, channels: int, pad: int) -> None:
        super().__init__()
        self.norm, self.pad = nn.BatchNorm2d(channels), pad

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm
        assert n.running_mean is not None and n.running_var is not None
        number = n.bias.detach() - n.running_mean * n.weight.detach() / torch.sqrt(n.running_var + n.eps)
        return _written_over(n(x), self.pad, number)


class DiverseBranches(nn.Module):
    """DiverseBranchBlock as published: k×k, 1×1, 1×1 then k×k, 1×1 then average pool (github: DiverseBranchBlock)."""

    def __init__(self, c_in: int = 16, c_out: int = 16, size: int = 3) -> None:
        super().__init__()
        pad, norm = size // 2, nn.BatchNorm2d
        self.origin = nn.Sequential(nn.Conv2d(c_in, c_out, size, padding=pad, bias=False), norm(c_out))
        self.point = nn.Sequential(nn.Conv2d(c_in, c_out, 1, bias=False), norm(c_out))
        self.average = nn.Sequential(
            nn.Conv2d(c_in, c_out, 1, bias=False), PaddedNorm(c_out, pad), nn.AvgPool2d(size, 1), norm(c_out)
        )
        self.series = nn.Sequential(
            nn.Conv2d(c_in, c_in, 1, bias=False),
            PaddedNorm(c_in, pad),
            nn.Conv2d(c_in, c_out, size, bias=False),
            norm(c_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.origin(x) + self.point(x) + self.average(x) + self.series(x)
        return y


class EdgeOriented(nn.Module):
    """ECBSR's ECB as published: 3×3, 1×1 then 3×3, 1×1 then a scaled Sobel or Laplace mask (github: ECBSR)."""

    def __init__(self, c_in: int = 16, c_out: int = 16, middle: int = 32) -> None:
        super().__init__()
        self.dense = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.firsts = nn.ModuleList([nn.Conv2d(c_in, middle, 1), *(nn.Conv2d(c_in, c_out, 1) for _ in range(3))])
        self.expanded = nn.Conv2d(middle, c_out, 3)
        self.scales = nn.ParameterList(torch.randn(c_out, 1, 1, 1) for _ in range(3))
        self.shifts = nn.ParameterList(torch.randn(c_out) for _ in range(3))
        masks = (
            [[1, 0, -1], [2, 0, -2], [1, 0, -1]],
            [[1, 2, 1], [0, 0, 0], [-1, -2, -1]],
            [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
        )
        self.masks = nn.Buffer(torch.tensor(masks, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        first, *rest = (_written_over(c(x), 1, c.bias) for c in self.firsts)  # type: ignore[arg-type]
        y: Tensor = self.dense(x) + self.expanded(first)
        for z, scale, shift, mask in zip(rest, self.scales, self.shifts, self.masks, strict=True):
            y = y + F.conv2d(z, scale * mask, shift, groups=len(shift))
        return y


class Dilated(nn.Module):
    """DeepLab's three dilated branches, of 12, 24 and 36."""

    def __init__(self, c_in: int = 64, c_out: int = 32) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(c_in, c_out, 3, padding=rate, dilation=rate, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()
            )
            for rate in (12, 24, 36)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class PatchMerging(nn.Module):
    """SwinV2: every second token from each of four, laid end to end, a linear layer, a norm; channels last."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.reduction, self.norm = nn.Linear(4 * channels, 2 * channels, bias=False), nn.LayerNorm(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        corners = x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]
        y: Tensor = self.norm(self.reduction(torch.cat(corners, -1)))
        return y


class TransformedInput(nn.Module):
    """torchvision's Inception v3: each colour's own scale and shift, then the first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32)

    def forward(self, x: Tensor) -> Tensor:
        red = torch.unsqueeze(x[:, 0], 1) * (0.229 / 0.5) + (0.485 - 0.5) / 0.5
        green = torch.unsqueeze(x[:, 1], 1) * (0.224 / 0.5) + (0.456 - 0.5) / 0.5
        blue = torch.unsqueeze(x[:, 2], 1) * (0.225 / 0.5) + (0.406 - 0.5) / 0.5
        y: Tensor = self.norm(self.conv(torch.cat((red, green, blue), 1)))
        return y


class Embedding(nn.Module):
    """ArcFace: a batch norm, flattened, a linear layer, a batch norm."""

    def __init__(self, channels: int = 128, side: int = 7, width: int = 512) -> None:
        super().__init__()
        self.before, self.after = nn.BatchNorm2d(channels), nn.BatchNorm1d(width)
        self.features = nn.Linear(channels * side * side, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.after(self.features(torch.flatten(self.before(x), 1)))
        return y


class SplitTransform(nn.Module):
    """ResNeXt as its paper draws it: the channels split, a 3×3 on each part, laid end to end, then a 1×1."""

    def __init__(self, channels: int = 64, parts: int = 8) -> None:
        super().__init__()
        width = channels // parts
        self.paths = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(parts))
        self.norm, self.out = nn.BatchNorm2d(channels), nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = x.chunk(len(self.paths), 1)
        y = torch.cat([path(part) for path, part in zip(self.paths, parts, strict=True)], 1)
        z: Tensor = self.out(F.relu(self.norm(y)))
        return z


class PyramidUp(nn.Module):
    """A Laplacian pyramid's expansion: positions written into zeros, then a fixed 5×5 kernel."""

    kernel: Tensor

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
        self.register_buffer("kernel", torch.outer(row, row).expand(channels, 1, 5, 5))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        up = torch.zeros(n, c, 2 * h, 2 * w, device=x.device, dtype=x.dtype)
        up[:, :, ::2, ::2] = x * 4
        return F.conv2d(up, self.kernel, padding=2, groups=c)


class Ghost(nn.Module):
    """GhostNet: channels and cheap maps of them laid end to end, of which as many are taken as are asked for."""

    def __init__(self, c_in: int = 16, c_out: int = 25) -> None:
        super().__init__()
        half = -(-c_out // 2)
        self.c_out = c_out
        self.primary, self.first = nn.Conv2d(c_in, half, 1, bias=False), nn.BatchNorm2d(half)
        self.cheap, self.second = nn.Conv2d(half, half, 3, 1, 1, groups=half, bias=False), nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first(self.primary(x)))
        return torch.cat([y, F.relu(self.second(self.cheap(y)))], dim=1)[:, : self.c_out, :, :]


class ChannelsFirstNorm(nn.Module):
    """ConvNeXt's downsampling: a layer norm of channels by hand between two layers."""

    def __init__(self, c_in: int = 32, width: int = 48, c_out: int = 64) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(c_in, width, 1), nn.Conv2d(width, c_out, 2, stride=2)
        self.weight, self.bias = nn.Parameter(1 + 0.1 * torch.randn(width)), nn.Parameter(0.1 * torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        u = x.mean(1, keepdim=True)
        s = (x - u).pow(2).mean(1, keepdim=True)
        x = (x - u) / torch.sqrt(s + 1e-6)
        y: Tensor = self.after(self.weight[:, None, None] * x + self.bias[:, None, None])
        return y


class LastBlock(nn.Module):
    """ViT: a block and a head that reads the class token alone."""

    def __init__(self, width: int = 192, heads: int = 3, classes: int = 100) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second, self.norm = (nn.LayerNorm(width) for _ in range(3))
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down, self.head = (
            nn.Linear(width, 4 * width),
            nn.Linear(4 * width, width),
            nn.Linear(width, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        y = self.first(x)
        q, k, v = (f(y).view(n, t, self.heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, d))
        x = x + self.down(F.gelu(self.up(self.second(x))))
        z: Tensor = self.head(self.norm(x)[:, 0])
        return z
