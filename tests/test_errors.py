"""A refusal is data with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

import convfold
from convfold.errors import REASONS, ConvfoldError, NotFoldable


@pytest.mark.parametrize("code", REASONS)
def test_every_reason_can_be_said(code: str) -> None:
    assert str(NotFoldable(code)) == f"{code}: {REASONS[code]}"
    refusal = NotFoldable(code, "3 and 4", "stem.conv")
    assert str(refusal) == f"stem.conv: {code}: 3 and 4"
    assert (refusal.code, refusal.detail, refusal.where) == (code, "3 and 4", "stem.conv")
    assert isinstance(refusal, ConvfoldError)


@pytest.mark.parametrize("code", REASONS)
def test_every_reason_is_given_somewhere(code: str) -> None:
    source = Path(convfold.__file__).parent
    files = [p for p in source.rglob("*.py") if p.name != "errors.py"]
    assert any(f'"{code}"' in p.read_text(encoding="utf-8") for p in files)


def test_reasons_are_one_line() -> None:
    assert not any("\n" in text or text.endswith(".") for text in REASONS.values())


def test_an_unknown_code_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="unknown reason code 'because'"):
        NotFoldable("because")
