"""What a value is in terms of values already computed: the normal form the planner works in.

    value = concat_i ( Σ_j  term_ij )        term = moves after ( operator ( moves before ( leaf ) ) )

A leaf is a value that is computed and kept. A term has one operator and any number of moves (layouts, slices, maps of
the space axes), of which some come before the operator and some after; a pointwise one commutes with them, and where
it is computed is decided last, in `plan.evaluation`. Every law in `plan.rules` says how one kind of step acts on forms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from convfold.algebra.layout import Layout, Select, Slice
from convfold.algebra.operation import Move
from convfold.errors import NotFoldable
from convfold.plan import deferred
from convfold.plan.border import Border, Way, ways
from convfold.plan.constants import Known, total
from convfold.plan.cost import Prices
from convfold.plan.deferred import Deferred
from convfold.region import Signal

T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """What the laws look up: the signals of the leaves, by name, what steps cost, and what to do at the border.

    ``ways``: those a border may be mended; None: no operator is to have one.
    """

    signals: dict[str, Signal]
    prices: Prices
    ways: Callable[[Border], list[Way]] | None = ways
    _known: dict[tuple[object, ...], tuple[object, object]] = field(default_factory=dict)

    def once(self, what: str, make: Callable[..., T], *given: Any) -> T:
        """``make(*given)``, made once for the same objects, refusals too: forms share most of their terms."""
        key = (what, *(g if isinstance(g, int | range) else id(g) for g in given))
        if key not in self._known:
            result: object
            try:
                result = make(*given)
            except NotFoldable as e:
                result = e
            self._known[key] = (given, result)  # held, so that ids stay theirs
        found = self._known[key][1]
        if isinstance(found, NotFoldable):
            raise found
        return found  # type: ignore[return-value]

    def alike(self, key: tuple[object, ...], make: Callable[[], T], *held: object) -> T:
        """What there is under a key, made once; ``held``: whose ids are in it, beside those of what it holds."""
        if key not in self._known:
            self._known[key] = (held, make())
        return self._known[key][1]  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Moved:
    """A move, and the signal behind it."""

    move: Move
    signal: Signal

    def resized(self, axis: int, n: int) -> Moved:
        """The same move where ``axis`` behind it, which it carries, has length n."""
        return Moved(self.move.resized(axis, n), with_length(self.signal, axis, n))


@dataclass(frozen=True, eq=False, slots=True)
class Term:
    """``moves`` on a leaf and, after the first ``at`` of them, the operator if there is one.

    ``paths``: where the operator has been composed as if no signal ended, the steps it stands for, each path from its
    input, and all of them added up: what the border must be (`plan.border`).
    """

    leaf: str
    moves: tuple[Moved, ...] = ()
    operator: Deferred | None = None
    at: int = 0
    axis: int = -1  # of the operator, at its place
    paths: tuple[tuple[Deferred, ...], ...] = ()
    sign: int = 1  # of the whole term, where it is a summand
    constant: Known | None = None  # all there is of it, where it does not depend on any input

    @property
    def movable(self) -> bool:
        """Does the operator commute with moves?"""
        g = self.operator.geometry if self.operator is not None else None
        return g is not None and g.pointwise and not g.periodic and not self.paths

    @property
    def ways(self) -> tuple[tuple[Deferred, ...], ...]:
        """What the operator stands for: its paths, or itself."""
        return self.paths or (() if self.operator is None else ((self.operator,),))

    def read(self, context: Context) -> Signal:
        """What the operator is applied to."""
        if self.constant is not None:
            return self.constant.signal
        return self.moves[self.at - 1].signal if self.at else context.signals[self.leaf]

    def known(self, context: Context, dims: int) -> tuple[int | None, ...]:
        """Sizes of the operator's space axes, None where free."""
        return self.read(context).known(self.axis, dims)

    def traced(self, axis: int) -> int:
        """The axis just behind the operator that becomes ``axis`` at the end."""
        for moved in reversed(self.moves[self.at :]):
            before = moved.move.traced(axis)
            if before is None:
                raise NotFoldable(
                    "layout-mixes-channels", "a step between the two splits, joins or reads along the axis"
                )
            axis = before
        return axis

    def end(self) -> int | None:
        """The axis at the end that the operator's becomes; None if it does not survive whole."""
        axis: int | None = self.axis
        for moved in self.moves[self.at :]:
            axis = None if axis is None else moved.move.forward(axis)
        return axis

    def resized(self, axis: int, n: int) -> tuple[Moved, ...]:
        """The moves when ``axis`` at the end, which is the operator's behind it, has length n."""
        moves = list(self.moves)
        for i in reversed(range(self.at, len(moves))):
            moves[i] = moves[i].resized(axis, n)
            before = moves[i].move.traced(axis)
            assert before is not None  # whoever changes an axis has traced it
            axis = before
        return tuple(moves)

    def followed(self, moved: Moved) -> Term:
        """One move more."""
        if self.constant is not None:
            return replace(self, leaf="", constant=self.constant.behind(moved.move, moved.signal))
        if len(self.moves) > self.at and (fewer := _fewer(moved, self.moves[-1], self._before_last())) is not None:
            return replace(self, moves=(*self.moves[:-1], *fewer))
        return replace(self, moves=(*self.moves, moved))

    def _before_last(self) -> Signal | None:
        return self.moves[-2].signal if len(self.moves) > 1 else None

    def placed(self, to: int) -> Term:
        """The same with the operator, a pointwise one, at another place.

        A diagonal one passes a view that merges its channels with other axes: it is there as often as these are long.

        Raises:
            NotFoldable: ``layout-mixes-channels`` where a move between does not carry its axis, ``ghost-is-constant``
                where a bias would have to pass one that does not preserve constants.
        """
        if to == self.at:
            return self
        assert self.operator is not None
        op = deferred.lifted(self.operator, 0)
        moves, axis = list(self.moves), self.axis
        down = to < self.at
        for i in range(self.at - 1, to - 1, -1) if down else range(self.at, to):
            move = moves[i].move
            if op.geometry.period is not None and not move.constants:
                raise NotFoldable("ghost-is-constant", "a bias before a step that does not preserve constants")
            other = move.traced(axis) if down else move.forward(axis)
            if other is None and not down and op.geometry.diagonal and isinstance(move, Layout):
                merged = move.merged(axis)
                if merged is not None:
                    axis, outer, inner = merged
                    op = deferred.tiled(op, outer, inner)
                    continue
            if other is None:
                raise NotFoldable("layout-mixes-channels", "a step splits, joins or reads along the channel axis")
            behind = axis if down else other
            moves[i] = moves[i].resized(behind, op.geometry.c_out if down else op.geometry.c_in)
            axis = other
        return replace(self, moves=tuple(moves), operator=op, at=to, axis=axis)

    def lowest(self) -> Term:
        """The operator, a pointwise one, as near to the leaf as it gets: the one way to write the term."""
        term = self
        while term.at > 0:
            try:
                term = term.placed(term.at - 1)
            except NotFoldable:
                break
        return term._straightened()

    def _straightened(self) -> Term:
        """Moves that undo each other, met now that the operator has left their midst."""
        term = replace(self, moves=self.moves[: self.at])
        for moved in self.moves[self.at :]:
            term = term.followed(moved)
        return term

    def turned(self) -> Term:
        """The same summand with the other sign."""
        return replace(self, sign=-self.sign)

    def positive(self, y: Signal) -> Term:
        """The same with its sign in the operator; ``y`` is the signal it gives."""
        if self.sign > 0:
            return self
        if self.constant is not None:
            return Term("", constant=total([(-1, self.constant)]))
        if self.operator is None or self.operator.identity:
            axis = len(y.shape) - 1
            minus = deferred.uniform(y.shape[axis], -1.0, 0.0)
            return replace(self, operator=minus, at=len(self.moves), axis=axis, sign=1)
        return replace(self, operator=deferred.negated(self.operator), paths=self.turned_paths, sign=1)

    @property
    def turned_paths(self) -> tuple[tuple[Deferred, ...], ...]:
        return tuple((*path, deferred.negated(last)) for *path, last in self.paths)


def _fewer(outer: Moved, inner: Moved, before: Signal | None) -> tuple[Moved, ...] | None:
    if isinstance(inner.move, Select) and isinstance(outer.move, Layout):
        slices = inner.move.before(outer.move)
        return None if slices is None else tuple(Moved(s, outer.signal) for s in slices)
    if isinstance(inner.move, Slice) and isinstance(outer.move, Layout):
        selected = inner.move.before(outer.move)
        return None if selected is None else (Moved(selected, outer.signal),)
    if isinstance(inner.move, Layout) and isinstance(outer.move, Select):
        whole, after = inner.move.symbols
        axis = outer.move.axis
        made = len(after) > axis and after[axis] == 1 and (*after[:axis], *after[axis + 1 :]) == whole
        return () if inner.move.shape is not None and made else None
    if not isinstance(outer.move, Layout) or not isinstance(inner.move, Layout):
        return None
    moves = outer.move.after(inner.move)
    return None if moves is None else tuple(Moved(m, outer.signal) for m in moves)


def with_length(x: Signal, axis: int, n: int) -> Signal:
    return replace(x, shape=(*x.shape[:axis], n, *x.shape[axis + 1 :]))


def spaced(x: Signal, axis: int, space: tuple[int, ...]) -> Signal:
    return replace(x, shape=(*x.shape[: axis + 1], *space, *x.shape[axis + 1 + len(space) :]))


Terms = tuple[Term, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Form:
    """Blocks along ``axis`` (one block: axis is meaningless), each a sum of terms; ``sizes`` are their lengths."""

    blocks: tuple[Terms, ...]
    axis: int = -1
    sizes: tuple[int, ...] = ()

    @classmethod
    def leaf(cls, name: str) -> Form:
        return cls(((Term(name),),))

    @classmethod
    def constant(cls, known: Known) -> Form:
        return cls(((Term(known.name or "", constant=known),),))

    @classmethod
    def opaque(cls) -> Form:
        """A step that has no form: kept as it is, never carried."""
        return cls(())

    @property
    def endless(self) -> bool:
        """Is it nothing but constants that are computed before, and as long as is known at run time only?"""
        terms = [t for terms in self.blocks for t in terms]
        return len(terms) > 0 and all(t.constant is not None and not t.leaf and t.constant.signal.free for t in terms)

    def block_signal(self, y: Signal, size: int) -> Signal:
        return y if len(self.blocks) == 1 else with_length(y, self.axis, size)


def forms_of(*ways: Callable[[], Sequence[Form]]) -> list[Form]:
    """What each way comes to, in turn; where none comes to any, the last refusal."""
    forms: list[Form] = []
    reason: NotFoldable | None = None
    for way in ways:
        try:
            forms += way()
        except NotFoldable as e:
            reason = e
    if not forms:
        assert reason is not None
        raise reason
    return forms
