"""Random small networks: what a whole fold is tested on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Step = Callable[[list[Tensor]], Tensor]
Shape = tuple[int, int, int, int]


class Values(list[Tensor]):
    """Values by number, and which of them have been read."""

    def __init__(self, values: Iterable[Tensor]) -> None:
        super().__init__(values)
        self.read: set[int] = set()

    def __getitem__(self, i: Any) -> Any:
        self.read.add(i)
        return super().__getitem__(i)


class RandomNetwork(nn.Module):
    """A random graph of affine and other steps on maps (N, C, H, W), with shared values and several outputs."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        self.steps: list[Step] = []
        self.outputs: list[int] = []
        self.random = r = Random(seed)
        torch.manual_seed(seed)
        self.shape = (r.choice([1, 2, 3]), r.choice([4, 6]), r.randint(2, 9), r.randint(2, 9))
        self.shapes: list[Shape] = [self.shape]
        self.read: set[int] = set()
        for _ in range(r.randint(3, 9)):
            self._grow()
        self.outputs += sorted(set(range(1, len(self.shapes))) - self.read - set(self.outputs))  # nothing is in vain
        randomise(self)
        self.eval().double()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        values = [x]
        for step in self.steps:
            values.append(step(values))
        return tuple(values[i] for i in self.outputs)

    def _grow(self) -> None:
        """One more step, if it gives a map that is not empty."""
        step = self._random_step(self.random)
        values = Values(torch.zeros(s) for s in self.shapes)
        try:
            n, c, h, w = step(values).shape
        except (RuntimeError, ValueError):  # a kernel larger than its map
            return
        shape = (n, c, h, w)
        if 0 in shape or max(shape) > 64:
            return
        self.steps.append(step)
        self.shapes.append(shape)
        self.read |= values.read
        if self.random.random() < 0.15:
            self.outputs.append(len(self.shapes) - 1)

    def _layer(self, layer: nn.Module) -> nn.Module:
        self.layers.append(layer.eval())
        return layer

    def _random_step(self, r: Random) -> Step:
        i = len(self.shapes) - 1 - min(int(r.expovariate(0.9)), len(self.shapes) - 1)
        n, c, h, w = self.shapes[i]
        alike = [j for j, s in enumerate(self.shapes) if s == self.shapes[i]]
        j = r.choice(alike)
        joinable = [k for k, s in enumerate(self.shapes) if (s[0], *s[2:]) == (n, h, w)]
        k = r.choice(joinable)
        match r.choice("cccccctbbbbaaaaasSgpPqurlvVnsdxiyyhkkkKKmzwwoooeeCCDDEfAAFFWWRR"):
            case "c":
                return self._on(i, self._convolution(r, c))
            case "t":
                return self._on(i, self._transposed(r, c))
            case "b":
                return self._on(i, nn.BatchNorm2d(c, eps=r.choice([1e-5, 1e-3]), affine=r.random() < 0.8))
            case "a":
                return lambda values: values[i] + values[j]
            case "d":
                return lambda values: values[i] - 0.5 * values[j]
            case "s":
                factor, shift = r.uniform(-2, 2), r.uniform(-1, 1)
                return lambda values: values[i] * factor + shift
            case "S":
                scale = nn.Parameter(torch.randn(c, 1, 1))
                self.register_parameter(f"scale{len(self.steps)}_{r.randint(0, 10**9)}", scale)
                return lambda values: values[i] * scale
            case "g":
                return self._on(i, nn.GroupNorm(r.choice([1, 2]), c) if c % 2 == 0 else nn.Identity())
            case "p":
                return self._on(i, nn.AvgPool2d(r.choice([1, 2, 3]), r.choice([1, 2]), r.choice([0, 0, 1][:2])))
            case "P":
                pads = tuple(r.choice([-1, 0, 0, 1, 2]) for _ in range(4))
                return lambda values: F.pad(values[i], pads)
            case "q":
                return self._on(
                    i, nn.PixelShuffle(2) if c % 4 == 0 else nn.ChannelShuffle(2) if c % 2 == 0 else nn.ReLU()
                )
            case "u":
                return self._on(i, r.choice([nn.Upsample(scale_factor=2), nn.PixelUnshuffle(2)]))
            case "r":
                return lambda values: values[i].relu()
            case "l":
                linear = self._layer(nn.Linear(c, r.choice([c, 4]), bias=r.random() < 0.5))
                return lambda values: linear(values[i].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            case "v":
                norm = self._layer(nn.BatchNorm1d(c))
                return lambda values: norm(values[i].flatten(2)).reshape(values[i].shape)
            case "V":
                stop = r.randint(1, c)
                return lambda values: values[i][:, :stop]
            case "n":
                norm = self._layer(nn.LayerNorm(c))
                return lambda values: norm(values[i].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            case "x":
                return lambda values: torch.cat([values[i], values[k]], 1)
            case "y":  # of positions
                rows = r.choice([m for m, s in enumerate(self.shapes) if (*s[:2], s[3]) == (n, c, w)])
                return lambda values: torch.cat([values[i], values[rows]], 2)
            case "h":  # a number between views that split the channels
                return lambda values: (values[i].reshape(n, -1, 2, h, w) * 0.7 + 0.2).reshape(n, c, h, w)
            case "k":  # positions of an axis
                return _cut(r, i, self.shapes[i])
            case "K":  # every second position, from either one on, added or laid end to end
                signs = [r.choice([1, -1, 0.5]) for _ in range(4)]
                both = r.random() < 0.5
                return lambda values: (
                    torch.cat(_phases(values[i]), 1)
                    if both
                    else torch.stack([f * p for f, p in zip(signs, _phases(values[i]), strict=True)]).sum(0)
                )
            case "m":  # of the channels, or of rows
                of_all = r.choice(_MAPS)
                return lambda values: of_all(values[i])
            case "w":  # positions into channels, or back, by views
                return _viewed(r, i, self.shapes[i])
            case "o":  # constants on other axes than the channels, or on several
                return _constant(r, i, self.shapes[i])
            case "e":  # stacked and added up
                axis = r.choice([0, 1, 2, 4])
                mean = r.random() < 0.5
                return lambda values: (torch.mean if mean else torch.sum)(
                    torch.stack([values[i], values[j]], axis), axis
                )
            case "C":  # channels one by one, some of them scaled
                return _picked(r, i, c)
            case "D":  # what there is already
                return r.choice(self.steps) if self.steps else (lambda values: values[i])
            case "E":  # every second position, from either one on, laid end to end with the channels last

                def last(x: Tensor) -> Tensor:
                    x = x.permute(0, 2, 3, 1)
                    return torch.cat([x[:, a::2, b::2] for b in range(2) for a in range(2)], -1).permute(0, 3, 1, 2)

                return lambda values: last(values[i])
            case "f":  # a norm of channels and rows, or of channels and positions
                to = (n, c * h, w) if r.random() < 0.5 else (n, c * h * w)
                norm = self._layer(nn.BatchNorm1d(to[1]))
                return lambda values: norm(values[i].reshape(to)).reshape(n, c, h, w)
            case "A":  # positions that attend to each other, some of which are read

                def attended(x: Tensor) -> Tensor:
                    tokens = x.flatten(2).mT
                    tokens = tokens + (0.1 * tokens @ tokens.mT).softmax(-1) @ tokens.tanh()
                    return tokens.mT.reshape(n, c, h, w)

                return lambda values: attended(values[i])
            case "F":  # composite operators
                of_all = r.choice(_COMPOSITES)
                return lambda values: of_all(values[i])
            case "W":  # written over
                return _written(r, i, self.shapes[i])
            case "R":  # a curve, and a part of it
                axis, curve = r.randint(1, 3), r.choice(_CURVES)
                start = r.randrange(self.shapes[i][axis])
                length = r.randint(1, self.shapes[i][axis] - start)
                return lambda values: curve(values[i]).narrow(axis, start, length)
            case "z":
                return lambda values: torch.stack([values[i], values[j]], 2).flatten(1, 2)
            case _:
                order = torch.tensor(r.sample(range(c), c))
                return lambda values: values[i][:, order]

    def _on(self, i: int, layer: nn.Module) -> Step:
        layer = self._layer(layer)
        return lambda values: layer(values[i])

    def _convolution(self, r: Random, c: int) -> nn.Conv2d:
        groups = r.choice([1, 1, 2 if c % 2 == 0 else 1, c])
        out = groups * r.randint(1, max(8 // groups, 1))
        kernel = (_kernel(r), _kernel(r))
        mode: Any = r.choice(["zeros"] * 8 + ["reflect", "circular"])
        padding = (_padding(r, kernel[0]), _padding(r, kernel[1]))
        stride: Any = r.choice([1, 1, 1, 2, (1, 2)])
        return nn.Conv2d(c, out, kernel, stride, padding, r.choice([1, 1, 2]), groups, r.random() < 0.5, mode)

    def _transposed(self, r: Random, c: int) -> nn.ConvTranspose2d:
        groups = r.choice([1, 1, 2 if c % 2 == 0 else 1])
        out = groups * r.randint(1, 4)
        stride = r.choice([1, 2, 2, 3])
        kernel = r.choice([2, 3, 4, r.randint(1, 7)])
        return nn.ConvTranspose2d(c, out, kernel, stride, _padding(r, kernel), r.randrange(stride), groups)


_MAPS: list[Callable[[Tensor], Tensor]] = [
    lambda x: x.sum(1, keepdim=True),
    lambda x: x.mean(1)[:, None],
    lambda x: x.flip(1),
    lambda x: x.flip(2),
    lambda x: x.roll(1, 1),
    lambda x: x.cumsum(1),
    lambda x: F.pad(x, (0, 0, 0, 0, 1, -1)),
]


_CURVES: list[Callable[[Tensor], Tensor]] = [torch.tanh, F.silu, lambda x: x.softmax(2)]
_COMPOSITES: list[Callable[[Tensor], Tensor]] = [
    lambda x: torch.hstack([x, x.negative()]),
    lambda x: torch.vstack([x[:, 1:], x[:, :-1]]),
    lambda x: x.diff(dim=1),
    lambda x: x - x.mean(1, keepdim=True),
    lambda x: x.sum((2, 3), keepdim=True) + x,
    lambda x: x.amax((2, 3), keepdim=True) - 0.5 * x,
    lambda x: x.true_divide(3).subtract(0.5).multiply(1.5),
    lambda x: x.rot90(2, (2, 3)),
    lambda x: torch.cat(x.tensor_split(2, 1)[::-1], 1),
    lambda x: torch.cat(torch.unsafe_chunk(x, 2, 1)[::-1], 1),
    lambda x: torch.trapezoid(x, dim=1).unsqueeze(1),
    lambda x: torch.einsum("nchw,cdk->ndkhw", x[:, :2], torch.ones(2, 2, 2).to(x)).flatten(
        1, 2
    ),  # with 1 it counts none
    lambda x: (x.movedim(1, -1) @ torch.arange(float(x.shape[1]))[:, None].to(x)).movedim(-1, 1),
    lambda x: torch.where(torch.arange(x.shape[1])[:, None, None] > 1, x, 0.5 * x),
    lambda x: torch.where(torch.arange(x.shape[3]) > 1, x, torch.tensor(1.5).to(x)),
]


def _written(r: Random, i: int, shape: Shape) -> Step:
    """Into zeros, every so many positions; over some channels or rows, by others or by numbers."""
    n, c, h, w = shape
    axis = r.choice([1, 1, 2])
    start = r.randrange(shape[axis])
    stop = r.randint(start + 1, shape[axis])
    index = (slice(None),) * axis + (slice(start, stop),)
    step, at = r.choice([2, 3]), r.choice([0, 1])

    def spread(x: Tensor) -> Tensor:
        y = x.new_zeros(n, c, step * h, step * w)
        y[:, :, at::step, ::step] = x
        return y

    def gathered(x: Tensor) -> Tensor:
        y = torch.zeros_like(torch.cat([x, x], 1))
        y[:, ::2] = x
        y[:, 1::2] = 0.5 * x
        return y

    def mended(x: Tensor, by: Any) -> Tensor:
        y = x.clone()
        y[index] = by(x)
        return y

    spellings: list[Callable[[Tensor], Tensor]] = [
        spread,
        gathered,
        lambda x: mended(x, lambda x: 0.5 * x[index]),
        lambda x: mended(x, lambda x: 0.7),
        lambda x: torch.select_scatter(x, 0.5 * x[:, 0], 1, c - 1),
    ]
    spelling = r.choice(spellings)
    return lambda values: spelling(values[i])


def _viewed(r: Random, i: int, shape: Shape) -> Step:
    """Patches of 2×2 or so, their channels in any order; with a matrix on them, or shuffled back."""
    n, c, h, w = shape
    p, q = (k if m % k == 0 else 1 for m, k in ((h, r.choice([1, 2, 3])), (w, r.choice([2, 3]))))
    if r.random() < 0.25:  # zeros between positions
        lo, hi, top, bottom = (r.choice([0, 0, 1, 2]) for _ in range(4))
        pads = (lo, hi, 0, 0, top, bottom)
        grown = (n, c, h * (1 + top + bottom), w * (1 + lo + hi))
        return lambda values: F.pad(values[i].reshape(n, c, h, 1, w, 1), pads).reshape(grown)
    inner = r.sample([1, 3, 5], 3)
    if r.random() < 0.6:
        order = [0, *inner, 2, 4]
        last = (n, c * p * q, h // p, w // q)
        return lambda values: values[i].reshape(n, c, h // p, p, w // q, q).permute(order).reshape(last)
    a, b = (k if c % k == 0 else 1 for k in (r.choice([1, 2, 3]), 2))
    b = b if c % (a * b) == 0 else 1
    split = r.sample([c // (a * b), a, b], 3)
    at = [1 + split.index(k) for k in (c // (a * b), a, b)]
    if len(set(at)) < 3:
        at = [1, 2, 3]
        split = [c // (a * b), a, b]
    return lambda values: (
        values[i].reshape(n, *split, h, w).permute(0, at[0], 4, at[1], 5, at[2]).reshape(n, -1, h * a, w * b)
    )


def _constant(r: Random, i: int, shape: Shape) -> Step:
    """A matrix on an axis of space, a number or a truth a position, positions in any order."""
    n, c, h, w = shape
    rows, columns = (torch.randn(m, r.randint(1, 9), dtype=torch.float64) for m in (h, w))
    some = torch.tensor([r.randrange(w) for _ in range(r.randint(1, 9))])
    at = tuple(torch.tensor([[r.randrange(m) for _ in range(2)] for _ in range(3)]) for m in (h, w))
    number = torch.randn(*(m if r.random() < 0.5 else 1 for m in (c, h, w)), dtype=torch.float64)
    spellings: list[Callable[[Tensor], Tensor]] = [
        lambda x: x @ columns.to(x),
        lambda x: torch.einsum("nchw,hk->nckw", x, rows.to(x)),
        lambda x: x * number,
        lambda x: x / (number.abs() + 0.5),
        lambda x: torch.where(number > 0, x, 0),
        lambda x: x.masked_fill(number > 0, 0.0),
        lambda x: x[..., some],
        lambda x: x[:, :, at[0], at[1]],
        lambda x: x + number,
        lambda x: 0.5 * number - x,
        lambda x: torch.cat([number.expand(n, c, h, w), x], 1),
        lambda x: torch.cat([x, number.expand(n, c, h, w)[:, :, :1]], 2),
    ]
    spelling = r.choice(spellings)
    return lambda values: spelling(values[i])


def _picked(r: Random, i: int, c: int) -> Step:
    """Some channels in any order, each by a slice or alone, as it is or times a number and shifted."""
    at = [r.randrange(c) for _ in range(r.randint(1, 4))]
    factors = [(r.choice([1, 1, 0.5]), r.choice([0, 0, 0.3])) for _ in at]

    def one(x: Tensor, k: int, factor: float, shift: float) -> Tensor:
        x = x if factor == 1 else x * factor
        return x if shift == 0 else x + shift

    if r.random() < 0.5:
        return lambda values: torch.cat(
            [one(values[i][:, k : k + 1], k, *f) for k, f in zip(at, factors, strict=True)], 1
        )
    return lambda values: torch.stack([one(values[i][:, k], k, *f) for k, f in zip(at, factors, strict=True)], 1)


def _phases(x: Tensor) -> list[Tensor]:
    return [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]


def _cut(r: Random, i: int, shape: Shape) -> Step:
    """Some positions of an axis, in one of many spellings."""
    axis = r.randint(1, 3)
    n = shape[axis]
    start, step = r.randrange(n), r.choice([1, 1, 1, 2, 3])
    stop = r.randint(start + 1, n)
    index = (slice(None),) * axis + (slice(start, stop, step),)
    some = torch.arange(start, stop, step)
    pads = [0] * (2 * (3 - axis)) + [-start, stop - n]
    spellings: list[Callable[[Tensor], Tensor]] = [lambda x: x[index], lambda x: x.index_select(axis, some)]
    if step == 1:
        spellings += [lambda x: x.narrow(axis, start, stop - start), lambda x: F.pad(x, pads)]
    if stop == start + 1:
        spellings += [lambda x: x.select(axis, start).unsqueeze(axis), lambda x: x.unbind(axis)[start].unsqueeze(axis)]
    spelling = r.choice(spellings)
    return lambda values: spelling(values[i])


def _kernel(r: Random) -> int:
    return r.choice([1, 1, 1, 2, 3, 3, r.randint(1, 7)])


def _padding(r: Random, kernel: int) -> int:
    """Mostly none, or as much as keeps the size; up to all of the kernel but one tap."""
    return r.choice([0, 0, kernel // 2, kernel // 2, r.randrange(kernel)])


def randomise(model: nn.Module) -> None:
    """Statistics and affine parameters away from zero and one: fresh ones hide every mistake."""
    for m in model.modules():
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d):
            assert m.running_mean is not None and m.running_var is not None
            nn.init.normal_(m.running_mean)
            nn.init.uniform_(m.running_var, 0.5, 2.0)
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm) and m.weight is not None:
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias)
