"""What a model costs, in a few numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Totals:
    """Of the whole model at the example's sizes."""

    macs: int  # multiply-adds of convolutions and matrix products
    params: int
    ops: int  # calls that compute
    layers: int  # convolutions and linear layers
    batch_norms: int
