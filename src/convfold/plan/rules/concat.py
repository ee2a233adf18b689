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
    sizes = tuple(n for f, length in zip(inputs, lengths, strict=True) for n in (f.sizes or (length,)))
    return Form(blocks, step.axis, sizes)
