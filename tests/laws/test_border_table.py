"""Pairs of layers of every kind: exact in the ring and inside, or left apart with a reason; the naive rule is not."""

from __future__ import annotations

import pytest

from benchmarks.border_table import ALLOWED, KINDS, Kind, examine, run


@pytest.mark.parametrize("dims", [1, 2])
def test_a_slice(dims: int) -> None:
    """Each of the 192 layers before some others; `benchmarks.border_table` has all pairs."""
    found = run(2 / len(KINDS), dims)
    assert max(max(s.ring, s.interior) for s in found.values()) <= ALLOWED
    bordered = [s for form, s in found.items() if "border" in form]
    assert {form.partition(":")[0] for form in found} >= {
        "one",
        "one, border by kernels",
        "one, border by map",
        "apart",
    }
    assert all(s.naive_wrong == s.pairs and s.naive > 0.1 for s in bordered)  # what is mended was wrong


@pytest.mark.parametrize(
    ("first", "second", "form"),
    [
        (Kind("3", "bias", "1", 1, False), Kind("3", "none", "1", 1, False), "one, border by kernels"),
        (Kind("1", "bias", "0", 1, False), Kind("3", "none", "1", 1, False), "one, border by map"),
        (Kind("1", "none", "0", 1, False), Kind("3", "none", "1", 1, False), "one"),
        (Kind("3", "batch norm", "1", 1, False), Kind("1", "bias", "0", 1, False), "one"),
        (Kind("even", "bias", "same", 2, False), Kind("5", "bias", "asymmetric", 2, True), "apart: stride-upsample"),
    ],
)
def test_the_form(first: Kind, second: Kind, form: str) -> None:
    row = examine(first, second, 1, 0)
    assert row is not None
    assert row.form == form
