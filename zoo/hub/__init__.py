"""Architectures from `transformers`, unmodified, random weights; it is imported only when one is built."""

from __future__ import annotations

from .published import PUBLISHED
from .recipe import Plain, Recipe
from .tiny import TINY

__all__ = ["MODELS", "PUBLISHED", "TINY", "Plain", "Recipe"]

MODELS = {**PUBLISHED, **TINY}
