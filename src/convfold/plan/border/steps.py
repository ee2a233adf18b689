"""What is missing is data, and there are too many kernels or the sizes are free: the original steps, run on strips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from convfold.algebra.margins import Strip
from convfold.algebra.operation import T, Work
from convfold.algebra.realisation import OwnCall, Realisation
from convfold.ops import Ops
from convfold.plan.border.mismatch import Border
from convfold.plan.border.way import Mending, Way, Works, added, behind
from convfold.plan.cost import Prices
from convfold.plan.deferred import Deferred, composed
from convfold.plan.realisation import chosen
from convfold.region import Signal

Paths = Sequence[Sequence[Deferred]]


class Steps(Way):
    text = "the original steps on strips of the border"
    reads = True

    def exact(self, border: Border) -> bool:
        return not (border.fixed and border.constant)

    def works(self, border: Border, prices: Prices, x: Signal, y: Signal, axis: int) -> Works:
        return tuple(w for strip in _stepped(border, border.paths, prices, x, y, axis) for w in strip.works)

    def composed(self, border: Border, prices: Prices, x: Signal, y: Signal, axis: int) -> Mending:
        paths = tuple(tuple(composed(step) for step in path) for path in border.paths)
        strips = tuple(_stepped(border, paths, prices, x, y, axis))
        return _Strips(border, tuple(w for strip in strips for w in strip.works), paths, strips)


@dataclass(frozen=True, slots=True)
class Stepped:
    """The steps of a chain on one strip: of each path how each step is computed, and what all of them call."""

    axis: int
    strip: Strip
    high: bool
    hows: tuple[tuple[Realisation, ...], ...]
    works: Works


@dataclass(frozen=True, eq=False)
class _Strips(Mending):
    """In place of what the one convolution gave there."""

    paths: tuple[tuple[Deferred, ...], ...]
    strips: tuple[Stepped, ...]

    def lower(self, ops: Ops[T], y: T, x: T, axis: int, rank: int) -> T:
        # Several strips read the weights of a step.
        weights = {id(step): ops.weights([step], "") for path in self.paths for step in path}
        for stepped in self.strips:
            dim, strip = axis + 1 + stepped.axis, stepped.strip
            part, total = ops.end(x, dim, strip.inputs, strip.step, stepped.high), None
            for path, hows in zip(self.paths, stepped.hows, strict=True):
                value = part
                for step, how in zip(path, hows, strict=True):
                    if isinstance(how, OwnCall):
                        value = ops.again(step.own_call or "", step, value)
                    elif not step.identity:
                        value = how.lower(ops, step.value.to(ops.like), axis, value, rank, weights[id(step)])
                total = value if total is None else ops.add(total, value)
            assert total is not None
            exact = ops.end(total, dim, strip.rows, high=stepped.high)
            y = ops.put_into(y, dim, strip.rows, stepped.high, exact)
        return y


def _stepped(border: Border, paths: Paths, prices: Prices, x: Signal, y: Signal, axis: int) -> Iterator[Stepped]:
    """The steps on each strip; a strip cut from a smaller signal is all of it."""
    for i, strip, high in border.strips():
        n = border.sizes[i]
        length = n - max(n - strip.inputs, 0) // strip.step * strip.step if high else min(n, strip.inputs)
        ways, works = [], [Work(0, 2 * _with_space(y, axis, i, strip.rows).numbers, calls=4, ops=4)]
        if not prices.in_place:
            works += [Work(0, 2 * y.numbers, "slice"), Work(0, 2 * y.numbers)]
        for k, path in enumerate(paths):
            now, hows = _with_space(x, axis, i, length), []
            for step in path:
                how, _ = chosen(step, now, axis, prices, part=True)
                hows.append(how)
                works += () if step.identity else how.work(step.geometry, now.shape, axis)
                now = behind(now, step.geometry.lifted(len(border.sizes)), axis)
            ways.append(tuple(hows))
            works += [added(now)] if k else []
        yield Stepped(i, strip, high, tuple(ways), tuple(works))


def _with_space(x: Signal, axis: int, i: int, n: int) -> Signal:
    at = axis + 1 + i
    return Signal((*x.shape[:at], n, *x.shape[at + 1 :]), frozenset(), x.itemsize)
