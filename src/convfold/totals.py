"""What a model costs, in a few numbers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Totals:
    """Of the whole model at the example's sizes."""

    macs: int  # multiply-adds of convolutions and matrix products
    params: int
    ops: int  # calls that compute
    layers: int  # convolutions and linear layers
    batch_norms: int
    kinds: dict[str, int] = field(default_factory=dict)  # calls by operator, where the framework has a list of those
