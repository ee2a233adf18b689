"""What does a module compute that is no layer we know? It is exported with every size free, read and tried."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from convfold.agreement import ILLEGAL_SIZE, Trial, inside, line
from convfold.algebra import doors
from convfold.algebra.numbers import has_numbers
from convfold.chains import Chains
from convfold.errors import InvalidInput, NotFoldable
from convfold.frontends.torch.exported import Graph
from convfold.frontends.torch.read import Source, read
from convfold.frontends.torch.running.state import State, untouched
from convfold.layers.batch_norm import TRAINING
from convfold.layers.links import Link

#: Sizes to try a block on, of as many axes as it has: even ones, for it may halve them, then larger and odd ones.
SPACES = ((16, 24, 32), (64, 96, 80), (17, 23, 29), (224, 192, 160))

#: So many positions an input has at most, and so many numbers of channels are tried where no weight has the right one.
POSITIONS, CHANNELS = 1 << 16, 256

#: Where an export holds for sizes up to some number, larger ones are tried if they are not larger than this.
LARGEST = 4096


@doors.block.register(nn.Module)
def links_of(m: nn.Module, channels: int | None = None, dims: int | None = None) -> list[Link]:
    """The links of a module's chain, exact at every size it takes; differentiable in its weights.

    Raises:
        NotFoldable: with the reason, where it is no sum of chains of convolutions of its one input.
    """
    if not all(t.is_meta or has_numbers(t) for t in (*m.parameters(), *m.buffers())):
        raise NotFoldable("not-affine", "a block cannot be exported while it is itself traced, vmapped or under grad")
    for part in m.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training:
            raise NotFoldable("training-mode", TRAINING)
    inputs = _Inputs(m)
    device = inputs.like.device.type
    with nullcontext() if device == "meta" else torch.autocast(device, enabled=False):
        return _read(m, inputs.found(channels, dims))


class _Inputs:
    """Which inputs does a block take?"""

    def __init__(self, m: nn.Module) -> None:
        self.m = m
        self.refused = self.returned = ""  # the last thing it raised, and returned instead of what it should
        weights = [t for t in (*m.parameters(), *m.buffers()) if t.is_floating_point()]
        self.like = weights[0] if weights else torch.empty(0)
        self.lengths = {n for t in weights for n in t.shape}
        self.generator = torch.Generator().manual_seed(0)

    def found(self, channels: int | None, dims: int | None) -> Tensor:
        """A random one: of these channels and axes, or of the first that it takes.

        Raises:
            NotFoldable: ``channels-differ`` if it takes none that is tried, or any number of channels.
        """
        x = self._first([channels] if channels is not None else self._likely_channels(), dims, SPACES)
        if channels is None:
            if x is None:
                x = self._first(range(1, min(max(self.lengths, default=0), CHANNELS) + 1), dims, SPACES[:1])
            if not self.lengths or (x is not None and self._taken(x.shape[1] + 1, x.shape[2:]) is not None):
                raise NotFoldable(
                    "channels-differ",
                    f"{type(self.m).__name__} does not say how many channels it takes; "
                    "pass channels= and dims= to Convolution.of",
                )
        if x is not None:
            return x
        given = [f"{n} {what}" for n, what in ((channels, "channels"), (dims, "space axes")) if n is not None]
        wanted = f" of {' and '.join(given)}" if given else ""
        reason = self.returned or self.refused
        name = type(self.m).__name__
        raise NotFoldable("channels-differ", f"{name} takes no input{wanted} that was tried ({reason})")

    def _likely_channels(self) -> list[int]:
        """What its first weights read, then what the others do."""
        found: dict[int, None] = {}
        for part in self.m.modules():
            for t in (*part._parameters.values(), *part._buffers.values()):
                if t is None or t.dim() == 0:
                    continue
                if isinstance(part, nn.modules.conv._ConvNd):
                    found[part.in_channels] = None
                else:
                    found |= dict.fromkeys(t.shape[1::-1])
        return sorted((c for c in found if c > 0), key=lambda c: c == 1)  # a length of 1 takes any by broadcasting

    def _first(self, channels: Iterable[int], dims: int | None, spaces: Sequence[tuple[int, ...]]) -> Tensor | None:
        """Of the first channels and axes that it takes; a neighbour that has no axes says nothing of them."""
        convolutions = [len(m.kernel_size) for m in self.m.modules() if isinstance(m, nn.modules.conv._ConvNd)]
        axes = [dims] if dims else dict.fromkeys(convolutions or (0, 2, 1, 3))
        for c, d in product(channels, axes):
            for space in dict.fromkeys(s[:d] for s in spaces):
                if prod(space) <= POSITIONS and (x := self._taken(c, space)) is not None:
                    return x
        return None

    def _taken(self, channels: int, space: Sequence[int]) -> Tensor | None:
        """A random input, if it takes that; it and the batch are of lengths that no weight has."""
        avoided = {*self.lengths, channels}
        batch = next(n for n in range(3, len(avoided) + 4) if n not in avoided)
        shape = (batch, channels, *(n + 8 * (n in avoided) for n in space))
        x = torch.randn(shape, generator=self.generator).to(self.like)
        try:
            with torch.no_grad():
                y = State(self.m).run(lambda: self.m(x.clone()))
        except ILLEGAL_SIZE as e:
            self.refused = line(e)
            return None
        if isinstance(y, Tensor) and y.dim() == x.dim() and y.shape[0] == batch:
            return x
        what = f"shape {tuple(y.shape)}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
        self.returned = f"it returns {what} for an input of shape {shape}"
        return None


class _Block(nn.Module):
    """Calls the block, so that its own hooks are run."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Any:
        return self.block(x)


def _read(m: nn.Module, x: Tensor) -> list[Link]:
    free = {0: Dim.DYNAMIC, **{axis: Dim.DYNAMIC for axis in range(2, x.dim())}}
    block = _Block(m)
    try:
        with untouched(block):
            given = _as_parameters(block)
            source = read(block, (x,), None, (free,))
    except InvalidInput as e:
        if e.__cause__ is None:
            raise
        reason = str(e).replace(_Block.__name__, type(m).__name__)
        raise NotFoldable("not-affine", f"it cannot be exported with every size free: {reason}") from e
    graph = Graph(source)
    graph.calls.weights.update(given)
    found = Chains(graph, x.shape, differentiable=torch.is_grad_enabled()).links()
    if not x.is_meta:
        _try(m, source, found, x)
    return found


def _as_parameters(block: nn.Module) -> dict[str, Tensor]:
    """Tensors that stand in place of parameters (`torch.func.functional_call`) as such, for export; them, by path."""
    given: dict[str, Tensor] = {}
    copies: dict[int, nn.Parameter] = {}
    for path, part in block.named_modules():
        for name, t in part._parameters.items():
            if t is not None and not isinstance(t, nn.Parameter):
                given[f"{path}.{name}"] = t
                part._parameters[name] = copies.setdefault(id(t), nn.Parameter(t.detach(), t.requires_grad))
    return given


def _try(m: nn.Module, source: Source, found: list[Link], x: Tensor) -> None:
    """An export may hold for some sizes only, those that take one branch: is it so at all others too?"""
    trial = Trial([m], x.shape[1], x)
    spaces = [*trial.spaces(_inside(found, x.dim() - 2)), *_beyond(source, x)]
    difference = trial.difference(_Chain([link.to(torch.float64) for link in found]), spaces)
    if difference is not None:
        raise NotFoldable("not-affine", f"{type(m).__name__} computes something else at other sizes: off {difference}")


def _inside(found: list[Link], dims: int) -> list[int]:
    """Of each axis, so many inputs that every step has an interior."""
    lengths = [1] * dims
    for axis in range(dims):
        stride = 1
        for link in found:
            steps = [[v.lifted(dims).windows[axis] for v in path] for path in link.paths]
            lengths[axis] += stride * max(sum(map(inside, path)) for path in steps)
            stride *= max(prod(w.stride for w in path) for path in steps)
    return lengths


def _beyond(source: Source, x: Tensor) -> Iterator[tuple[int, ...]]:
    """Sizes just outside of those that the export holds for."""
    for places, bounds in source.bounds():
        for n in (bounds.lower - 1, bounds.upper + 1):
            if n.is_Integer and 1 < n < LARGEST:
                yield tuple(int(n) if (0, axis) in places else x.shape[axis] for axis in range(2, x.dim()))


class _Chain(nn.Module):
    def __init__(self, chain: list[Link]) -> None:
        super().__init__()
        self.chain = chain

    def forward(self, x: Tensor) -> Tensor:
        for link in self.chain:
            x = link(x)
        return x
