"""Symbolic sizes in the example's numbers."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from convfold.frontends.torch.free import is_free


class ExampleSizes:
    """What each free symbol is at the example; one that is only known at run time counts as 1, before and after."""

    def __init__(self, example: dict[Any, int]) -> None:
        self.example = example
        self._known: dict[Any, int] = {}

    def number(self, n: Any) -> int:
        if not is_free(n):
            return int(n)
        expr = n.node.expr
        if expr not in self._known:
            value = expr.subs(self.example)
            if not value.is_number:
                value = 1 if n.node.hint is None else n.node.hint
            self._known[expr] = int(value)
        return self._known[expr]

    def are_known(self, shape: Iterable[Any]) -> bool:
        """Are these sizes numbers at the example, or found out at run time (rows selected by a mask)?"""
        return all(not is_free(n) or n.node.expr.subs(self.example).is_number or n.node.hint is not None for n in shape)


def symbol(n: Any) -> Hashable:
    """A size as something to compare: a number, or an expression in the free sizes."""
    return n.node.expr if is_free(n) else int(n)
