"""Views and permutes one after the other, seen as what they do to the factors that axes are made of.

``(n, c, 2h, 2w) → (n, c, h, 2, w, 2) → (n, c, 2, 2, h, w) → (n, 4c, h, w)`` takes the inner factors of two axes and
puts them behind those of the channels: a pixel unshuffle. A run of layouts that does so, or the reverse, is one,
together with what is left: other permutes and views. An axis one long that is padded with zeros and then joined to
another puts zeros between that one's positions.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod

from convfold.algebra.layout import Layout
from convfold.algebra.spatial.pad import Pad


@dataclass(eq=False, slots=True)
class Factor:
    """Of an axis: its length, in numbers of the example and by name; ``parts``, outer and inner, once it is split.

    ``at``: where the numbers stand, of one that a pad has made: zeros elsewhere.
    """

    n: int
    name: Hashable
    parts: tuple[Factor, ...] = ()
    at: int | None = None

    def leaves(self) -> Iterator[Factor]:
        if self.parts:
            for part in self.parts:
                yield from part.leaves()
        else:
            yield self


Axis = tuple[Factor, ...]
Axes = tuple[Axis, ...]


@dataclass(frozen=True)
class Shuffled:
    """A run of layouts as ``before``, a shuffle of the channels on axis 1 and the space behind them, and ``after``.

    Attributes:
        down: do positions go into channels, or come out of them?
        rates: how many of them, on each axis of space.
        order: the channels of the many, each by its place in (c, *rates).
    """

    down: bool
    channels: int
    rates: tuple[int, ...]
    order: tuple[int, ...]
    before: tuple[Layout, ...]
    after: tuple[Layout, ...]


@dataclass(frozen=True)
class Inserted:
    """A run of layouts and pads as ``before`` and then, on each axis of space, rate − 1 zeros around every position.

    ``at``: the place of the position among them.
    """

    rates: tuple[int, ...]
    at: tuple[int, ...]
    before: tuple[Layout, ...]


def inserted(run: Sequence[Layout | Pad], shapes: Sequence[Sequence[int]]) -> Inserted | None:
    """What a run is, if all it does beside rearranging is to put zeros between positions of space."""
    found = _factors(run, shapes)
    if found is None:
        return None
    first, last = found
    made = [[f for f in axis if f.at is not None] for axis in last]
    stripped = tuple(tuple(f for f in axis if f.at is None) for axis in last)
    if not any(made) or len(last) < 3 or any(made[:2]) or any(len(axis) > 1 for axis in made):
        return None
    if any(axis and axis[0] is not last[i][-1] for i, axis in enumerate(made)):
        return None
    before = rearranged(first, stripped)
    one = Factor(1, 1, at=0)
    space = [axis[0] if axis else one for axis in made[2:]]
    return None if before is None else Inserted(tuple(f.n for f in space), tuple(f.at or 0 for f in space), before)


def shuffled(run: Sequence[Layout | Pad], shapes: Sequence[Sequence[int]]) -> Shuffled | None:
    """What a run of layouts is, if it is a shuffle; ``shapes`` are those before it and behind each step."""
    found = _factors(run, shapes)
    if found is None:
        return None
    first, last = found
    if any(f.at is not None for axis in last for f in axis):
        return None
    ways = [
        way
        for down, (apart, joined) in ((True, (first, last)), (False, (last, first)))
        for many in joined
        if (gathered := _gathered(many, apart)) is not None
        and (way := _mixed(first, last, many, apart, gathered, down)) is not None
    ]
    return min(ways, key=lambda way: (len(way.before) + len(way.after), -len(way.rates)), default=None)


def _mixed(
    first: Axes, last: Axes, many: Axis, apart: Axes, gathered: tuple[int, list[int]], down: bool
) -> Shuffled | None:
    """``many``: the axis of one side of which, on the other side, ``gathered`` has the channels and the space."""
    c, space = gathered
    inner = [tuple(f for f in apart[i] if f in many) for i in space]
    outer = [tuple(f for f in apart[i] if f not in many) for i in space]
    lead = tuple(f for i, axis in enumerate(apart) if i != c and i not in space for f in axis)
    few, rates = prod(f.n for f in apart[c]), tuple(prod(f.n for f in axis) for axis in inner)
    low, high = (lead, many, *outer), (lead, apart[c], *(apart[i] for i in space))
    before = rearranged(first, high if down else low)
    after = rearranged(low if down else high, last)
    if before is None or after is None:
        return None
    places = [f for axis in (apart[c], *inner) for f in axis]
    return Shuffled(down, few, rates, _order(places, many), before, after)


def _gathered(axis: Axis, apart: Axes) -> tuple[int, list[int]] | None:
    """Of one axis and the inner factors of others behind it: which is the one, and which the others."""
    left = set(map(id, axis))
    whole, parts = [], []
    for i, other in enumerate(apart):
        mine = [id(f) in left for f in other]
        if not any(mine):
            continue
        if all(mine):
            whole.append(i)
        elif mine == sorted(mine):
            parts.append(i)
        else:
            return None
        left -= set(map(id, other))
    if not parts or any(not isinstance(f.name, int) for f in axis):
        return None
    if not whole and parts[0] > 1 and not apart[1]:  # one channel, which has no factors
        whole = [1]
    return (whole[0], parts) if len(whole) == 1 else None


def _order(places: Sequence[Factor], axis: Sequence[Factor]) -> tuple[int, ...]:
    """The channels of an axis by their place where the factors are in another order."""
    steps = {id(f): prod(g.n for g in places[i + 1 :]) for i, f in enumerate(places)}
    found = [0]
    for f in axis:
        found = [i + k * steps[id(f)] for i in found for k in range(f.n)]
    return tuple(found)


def rearranged(axes: Axes, to: Axes) -> tuple[Layout, ...] | None:
    """From axes of some factors to others of the same: a view, a permute and a view, or fewer.

    None where two lengths of a view are free: nothing says what they are.
    """
    if [list(map(id, axis)) for axis in axes] == [list(map(id, axis)) for axis in to]:
        return ()
    flat, wanted = list(chain.from_iterable(axes)), list(chain.from_iterable(to))
    place = {id(f): i for i, f in enumerate(flat)}
    ends = {id(axis[-1]) for axis in axes if axis} & {id(axis[-1]) for axis in to if axis}  # of axes that stay axes
    runs: list[list[Factor]] = []  # that stay together
    for f in wanted:
        if runs and place[id(f)] == place[id(runs[-1][-1])] + 1 and id(runs[-1][-1]) not in ends:
            runs[-1].append(f)
        else:
            runs.append([f])
    order = sorted(range(len(runs)), key=lambda i: place[id(runs[i][0])])
    middle = [tuple(runs[i]) for i in order]
    steps = [
        _view(axes, middle),
        _permute([order.index(i) for i in range(len(runs))]),
        _view([tuple(r) for r in runs], to),
    ]
    if order == list(range(len(runs))):
        steps = [_view(axes, to)]
    return None if None in steps else tuple(s for step in steps if step is not None for s in step)


def _permute(order: Sequence[int]) -> tuple[Layout, ...]:
    return () if list(order) == sorted(order) else (Layout.permute(order),)


def _view(axes: Sequence[Sequence[Factor]], to: Sequence[Sequence[Factor]]) -> tuple[Layout, ...] | None:
    before, after = (tuple(prod(f.name for f in axis) for axis in side) for side in (axes, to))  # type: ignore[misc]
    if before == after:
        return ()
    free = [not isinstance(name, int) for name in after]
    if sum(free) > 1:
        return None
    shape = [-1 if unknown else prod(f.n for f in axis) for axis, unknown in zip(to, free, strict=True)]
    return (Layout.view(before, after, shape),)


def _factors(run: Sequence[Layout | Pad], shapes: Sequence[Sequence[int]]) -> tuple[Axes, Axes] | None:
    """The axes before the run and behind it, of the same factors."""
    names = _names(run)
    if names is None:
        return None
    first = [_factor(n, name) for n, name in zip(shapes[0], names, strict=True)]
    axes = list(first)
    for step, lengths in zip(run, shapes[1:], strict=True):
        if isinstance(step, Pad):
            padded = _padded(axes, step)
            if padded is None:
                return None
            axes = padded
            continue
        if step.order is not None:
            axes = [axes[i] for i in step.order]
            continue
        new = _viewed(list(chain.from_iterable(axes)), lengths, step.symbols[1])
        if new is None:
            return None
        axes = new
    before, after = ([tuple(leaf for f in axis for leaf in f.leaves()) for axis in side] for side in (first, axes))
    if before and after and not before[0] and not after[0]:  # one signal, before the run and behind it
        before[0] = after[0] = (Factor(1, 1),)
    return tuple(before), tuple(after)


def _padded(axes: Sequence[list[Factor]], step: Pad) -> list[list[Factor]] | None:
    """Zeros beside the one position of axes; None where it is another pad."""
    found = list(axes)
    for i, (lo, hi) in enumerate(zip(step.pads[::2], step.pads[1::2], strict=True)):
        axis = len(axes) - 1 - i
        if (lo or hi) and (step.copies or axes[axis] or min(lo, hi) < 0):
            return None
        if lo or hi:
            found[axis] = [Factor(lo + 1 + hi, lo + 1 + hi, at=lo)]
    return found


def _names(run: Sequence[Layout | Pad]) -> tuple[Hashable, ...] | None:
    """Lengths of the axes before the run, as its first view knows them; there is none without one."""
    at = next((i for i, step in enumerate(run) if isinstance(step, Layout) and step.order is None), None)
    if at is None:
        return None
    first = run[at]
    assert isinstance(first, Layout)
    names = first.symbols[0]
    for step in reversed(run[:at]):
        if isinstance(step, Pad) or step.order is None:
            return None
        names = tuple(name for _, name in sorted(zip(step.order, names, strict=True), key=lambda pair: pair[0]))
    return names


def _factor(n: int, name: Hashable) -> list[Factor]:
    return [] if name == 1 else [Factor(n, name)]


def _viewed(factors: list[Factor], lengths: Sequence[int], names: Sequence[Hashable]) -> list[list[Factor]] | None:
    """The factors gathered into axes of these lengths, split where they have to be."""
    todo = [leaf for f in factors for leaf in f.leaves()][::-1]
    axes = []
    for n, name in zip(lengths, names, strict=True):
        axis: list[Factor] = []
        rest = n
        while name != 1 and prod(f.name for f in axis) != name:  # type: ignore[misc]
            if not todo:
                return None
            f = todo.pop()
            if rest % f.n and f.n % rest == 0 and rest > 1 and f.at is None:
                outer = Factor(rest, rest if axis else name)
                inner = Factor(f.n // rest, f.n // rest)
                if outer.name * inner.name != f.name:  # type: ignore[operator]
                    return None
                f.parts = (outer, inner)
                todo.append(inner)
                f = outer
            elif rest % f.n:
                return None
            axis.append(f)
            rest //= f.n
        axes.append(axis)
    return None if todo else axes
