"""How a `transformers` model is built from its configuration, and made to return plain tensors."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn


class Plain(nn.Module):
    """A `transformers` model from an image to tensors: one, or a flat tuple of the named fields."""

    def __init__(self, model: nn.Module, fields: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.fields = fields

    def forward(self, pixel_values: Tensor) -> Tensor | tuple[Tensor, ...]:
        output = self.model(pixel_values)
        tensors: list[Tensor] = []
        for name in self.fields:
            value = output[name]
            tensors.extend([value] if isinstance(value, Tensor) else value)
        return tensors[0] if len(tensors) == 1 else tuple(tensors)


@dataclass(frozen=True)
class Recipe:
    """``<prefix><head>(<prefix>Config(**options))`` of ``transformers.models.<family>``; no download.

    ``size`` is the height and width of the image it is tried on, ``fields`` what is kept of its output.
    """

    family: str
    prefix: str
    head: str
    size: tuple[int, int]
    options: Mapping[str, Any] = field(default_factory=dict)
    fields: tuple[str, ...] = ("logits",)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, 3, *self.size)

    def __call__(self) -> nn.Module:
        package = f"transformers.models.{self.family}"
        config = getattr(importlib.import_module(f"{package}.configuration_{self.family}"), f"{self.prefix}Config")
        model = getattr(importlib.import_module(f"{package}.modeling_{self.family}"), f"{self.prefix}{self.head}")
        return Plain(model(config(**self.options)), self.fields)
