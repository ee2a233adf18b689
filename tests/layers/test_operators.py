"""Every operator of the core ATen set is read, or left for a reason; the table in docs says which."""

from __future__ import annotations

from benchmarks import operators
from convfold.layers import ATEN
from convfold.layers.left_aten import core_aten, why_left


def test_none_is_on_no_list() -> None:
    """Fails when torch adds one that nobody has classified."""
    assert {name for name in core_aten() if f"aten.{name}" not in ATEN and why_left(name) is None} == set()


def test_none_is_read_and_left() -> None:
    assert {name for name in core_aten() if f"aten.{name}" in ATEN and why_left(name) is not None} == set()


def test_the_table_is_of_today() -> None:
    assert operators.HERE.read_text(encoding="utf-8") == operators.text(), "run python -m benchmarks.operators"
