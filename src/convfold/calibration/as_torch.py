"""A sample as a module of PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convfold.calibration.samples import Sample


class Called(nn.Module):
    """One call, its weights beside it."""

    def __init__(self, sample: Sample) -> None:
        super().__init__()
        self.call, self.given = sample.call, sample.given
        shape = sample.shapes[0]
        channels = shape[-1] if self.call == "product" else shape[1]
        match self.call:
            case "convolution":
                taps, stride = self.given["taps"], self.given["stride"]
                self.layer: nn.Module = nn.Conv2d(
                    channels, self.given["c_out"], taps, stride, taps // 2, groups=self.given["groups"]
                )
            case "transposed":
                self.layer = nn.ConvTranspose2d(channels, self.given["c_out"], self.given["taps"], self.given["stride"])
            case "product":
                self.layer = nn.Linear(
                    channels, self.given["c_out"], bias=len(shape) == 2
                )  # as ONNX has it in one call
            case "scale":
                self.layer = nn.BatchNorm2d(channels)
            case "pool":
                self.layer = nn.AvgPool2d(self.given["taps"])
        self.index: Tensor
        self.register_buffer("index", torch.randperm(shape[-1]) if self.call == "gather" else None)

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        match self.call:
            case "sum":
                return x + others[0]
            case "concat":
                return torch.cat([x, *others], 1)
            case "pad":
                return F.pad(x, [self.given["amount"]] * 4)
            case "view":
                return x.reshape(x.shape[0], x.shape[1], -1)
            case "permute":
                return x.permute(0, 2, 3, 1)
            case "slice":
                return x[:, :, 1 :: self.given["step"]]
            case "gather":
                return x.index_select(3, self.index)
            case "resize":
                return F.interpolate(x, scale_factor=self.given["rate"], mode=self.given["mode"])
        return self.layer(x)  # type: ignore[no-any-return]


def module(sample: Sample) -> nn.Module:
    torch.manual_seed(0)
    return Called(sample).eval()
