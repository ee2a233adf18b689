"""What are modules in a row, as links of a chain? Here too nn.Sequential, and the doors of the algebra for modules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convfold.algebra import doors, parallel, series
from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window
from convfold.errors import NotFoldable
from convfold.layers.examples import Draw, ModuleExample, each, flag, module_example
from convfold.layers.known import module, reader, refuse_uninitialised


@dataclass(frozen=True, eq=False)
class Link:
    """A sum of paths, each some convolutions in turn, between which the signal ends; most are one convolution.

    ``mode``: the pads of the first copy data into the border, by this padding mode, where it is not None.
    """

    paths: tuple[tuple[Convolution, ...], ...]
    mode: str | None = None

    @property
    def c_in(self) -> int:
        return self.paths[0][0].c_in

    @property
    def c_out(self) -> int:
        return self.paths[0][-1].c_out

    @property
    def dims(self) -> int:
        return max(v.dims for path in self.paths for v in path)

    def to(self, dtype: torch.dtype | None = None, device: torch.device | None = None) -> Link:
        return Link(tuple(tuple(v.to(dtype, device) for v in path) for path in self.paths), self.mode)

    def lifted(self, dims: int) -> Link:
        return Link(tuple(tuple(v.lifted(dims) for v in path) for path in self.paths), self.mode)

    def value(self, endless: bool = False) -> Convolution:
        """The one convolution it is; ``endless``: but for the border.

        Raises:
            NotFoldable: with the reason, where it is none.
        """
        return reduce(parallel.parallel, (series.chain(path, endless=endless) for path in self.paths))

    def __call__(self, x: Tensor) -> Tensor:
        """Every path, step by step."""
        if self.mode is not None:
            ((first, *rest),) = self.paths
            x = F.pad(x, [n for w in reversed(first.windows) for n in (w.lo, w.hi)], self.mode)
            windows = tuple(Window(w.taps, w.stride, w.upsample, w.dilation) for w in first.windows)
            bare = Convolution(first.kernel, first.bias, first.groups, windows)
            return Link(((bare, *rest),))(x)
        found = []
        for path in self.paths:
            y = x
            for value in path:
                y = value(y)
            found.append(y)
        return reduce(torch.add, found)


#: A chain of sums of paths stands for as many chains as there are ways through it; of more the border is not looked at.
WAYS = 256


def ways(chain: Sequence[Link]) -> tuple[tuple[Convolution, ...], ...]:
    """The paths whose sum a chain is: B∘(A_1 + A_2) = B∘A_1 + B∘A_2, where B's biases come in the first only."""
    found: tuple[tuple[Convolution, ...], ...] = ((),)
    for link in chain:
        if len(found) * len(link.paths) > WAYS:
            raise NotFoldable("too-large", f"more than {WAYS} ways through its branches")
        linear = [tuple(Convolution(v.kernel, None, v.groups, v.windows) for v in path) for path in link.paths]
        rest = [(*way, *path) for way in found[1:] for path in linear]
        found = (*((*found[0], *path) for path in link.paths), *rest)
    return found


def links(modules: Iterable[nn.Module], channels: int | None = None, dims: int | None = None) -> list[Link]:
    """The chain of some modules; those that know their channels tell those that do not (pools, pads, shuffles).

    A module that is not known is read last, as a block, given the channels and axes that its neighbours have.
    """
    todo = list(flattened(modules))
    known: dict[int, list[Link]] = {}
    for i, m in enumerate(todo):
        refuse_uninitialised(m)
        if reader(m) is not None:
            try:
                known[i] = _read(m, None, None)
            except NotFoldable as e:
                if e.code != "channels-differ":
                    raise _placed(e, i, todo) from None
    dims = max((link.dims for found in known.values() for link in found), default=dims)
    first = next((i for i, m in enumerate(todo) if i in known or reader(m) is None), None)
    if channels is None and first is not None and first not in known:  # a block, before all that know: it may know too
        try:
            known[first] = _placed_read(first, todo, None, dims)
        except NotFoldable as e:
            if e.code != "channels-differ" or not known:
                raise
        else:
            dims = max(dims or 0, *(link.dims for link in known[first]))
    width = channels
    for i in range(len(todo)):
        if i not in known:
            if width is None and (later := [j for j in known if j > i]):  # read it off the first that knows
                width = _channels_before(todo[i : min(later)], known[min(later)][0].c_in)
            known[i] = _placed_read(i, todo, width, dims)
        width = known[i][-1].c_out if known[i] else width
    return [link for i in range(len(todo)) for link in known[i]]


def _placed_read(i: int, todo: Sequence[nn.Module], channels: int | None, dims: int | None) -> list[Link]:
    try:
        return _read(todo[i], channels, dims)
    except NotFoldable as e:
        raise _placed(e, i, todo) from None


def _placed(e: NotFoldable, i: int, todo: Sequence[nn.Module]) -> NotFoldable:
    """The refusal with the place it is about, where there are several."""
    if len(todo) == 1:
        return e
    where = f"module {i} ({type(todo[i]).__name__})"
    return NotFoldable(e.code, e.detail, f"{where}, {e.where}" if e.where else where)


def _channels_before(modules: Sequence[nn.Module], channels: int) -> int:
    """How many channels modules that do not know them must be given to return so many; of blocks, a guess."""
    for m in reversed(modules):
        if isinstance(m, nn.PixelShuffle):
            channels *= m.upscale_factor**2
        elif isinstance(m, nn.PixelUnshuffle):
            channels //= m.downscale_factor**2
    return channels


def _read(m: nn.Module, channels: int | None, dims: int | None) -> list[Link]:
    read = reader(m) or doors.block
    match read(m, channels, dims):
        case Convolution() as value:
            return [Link(((value,),))]
        case Link() as link:
            return [link]
        case found:
            return list(found)


def flattened(modules: Iterable[nn.Module]) -> Iterable[nn.Module]:
    """Sequentials that do nothing but call their modules in turn, as these modules."""
    for m in modules:
        if isinstance(m, nn.Sequential) and reader(m) is of_sequential:
            yield from flattened(m)
        else:
            yield m


@module(nn.Sequential)
def of_sequential(m: nn.Sequential, channels: int | None = None, dims: int | None = None) -> list[Link]:
    return links(m, channels, dims)


@doors.of.register(nn.Module)
def of(m: nn.Module, channels: int | None = None, dims: int | None = None) -> Convolution:
    """The one convolution a module is, composed in float64 where it is several, in the type of its first weight."""
    found = links([m], channels, dims)
    if not found:
        raise NotFoldable("channels-differ", "an empty Sequential does not say how many channels it has")
    value = composed(found)
    own = (t.dtype for t in (*m.parameters(), *m.buffers()) if t.is_floating_point())
    return value.to(next(own, value.kernel.dtype))


def composed(found: Sequence[Link]) -> Convolution:
    """A chain as one value."""
    for link in found:
        if link.mode is not None:
            raise NotFoldable("padding-mode", f"padding_mode={link.mode!r} copies data into the border")
    steps = [step for link in found for step in (link.paths[0] if len(link.paths) == 1 else (link,))]
    if len(steps) == 1 and isinstance(steps[0], Convolution):
        return steps[0]
    values = [step.to(torch.float64) for step in steps]
    return series.chain([step.value() if isinstance(step, Link) else step for step in values])


@module_example(nn.Sequential)
def drawn(draw: Draw, cls: type[nn.Sequential]) -> ModuleExample:
    """Layers that know their channels beside some that do not, one Sequential inside another."""
    c, middle, out = each(draw, 3, 1, 3)
    first = nn.Conv2d(c, 4 * middle, (draw.integer(1, 3), draw.integer(1, 3)), bias=flag(draw))
    inner = cls(nn.PixelShuffle(2), nn.AvgPool2d(2, 1), nn.Dropout(0.5))
    last = nn.Conv2d(middle, out, draw.integer(1, 3), draw.integer(1, 2))
    return ModuleExample(cls(first, inner, last).eval(), draw.signal(draw.integer(1, 2), c, *each(draw, 2, 4, 6)))
