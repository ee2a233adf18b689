"""concat of forms is the form with their blocks in turn."""

from __future__ import annotations

from collections.abc import Sequence

from convfold.algebra.joins import Concat
from convfold.errors import NotFoldable
from convfold.plan.form import Form


def join(step: Concat, inputs: Sequence[Form], lengths: Sequence[int]) -> Form:
    if any(len(f.blocks) > 1 and f.axis != step.axis for f in inputs):
        raise NotFoldable("partition-differs", "concats along different axes")
    blocks = tuple(b for f in inputs for b in f.blocks)
    if len(blocks) == 1:  # the concatenation of one
        return Form(blocks)
    parts = (f.sizes if len(f.blocks) > 1 else (length,) for f, length in zip(inputs, lengths, strict=True))
    return Form(blocks, step.axis, tuple(n for sizes in parts for n in sizes))
