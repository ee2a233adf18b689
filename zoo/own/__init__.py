"""Architectures written from their papers, in training form, the plain networks they equal, and heads of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import nn

from .blocks import DiverseBranchBlock, EdgeBlock, expanded_linear_block
from .branches import Branches
from .by_hand import merged_by_hand
from .edsr import EDSR, edsr_tail
from .ghostnet import ghostnetv3, ghostnetv3_1x
from .heads import HEADS
from .mobileone import mobileone, mobileone_s0
from .repvgg import repvgg, repvgg_a0, repvgg_stack
from .sesr import SESR, CollapsibleLinear

__all__ = [
    "EDSR",
    "MODELS",
    "SESR",
    "Branches",
    "CollapsibleLinear",
    "DiverseBranchBlock",
    "EdgeBlock",
    "edsr_tail",
    "expanded_linear_block",
    "ghostnetv3",
    "ghostnetv3_1x",
    "merged_by_hand",
    "mobileone",
    "mobileone_s0",
    "repvgg",
    "repvgg_a0",
    "repvgg_stack",
]

#: Builder and input shapes by name. SESR's paper counts multiply-adds at twice this height and width.
MODELS: Mapping[str, tuple[Callable[[], nn.Module], Sequence[tuple[int, ...]]]] = {
    "dbb": (DiverseBranchBlock, [(1, 16, 23, 26)]),
    "edsr-baseline-x4": (EDSR, [(1, 3, 48, 48)]),
    "edsr-tail-x4": (edsr_tail, [(1, 64, 48, 48)]),
    "ecb": (EdgeBlock, [(1, 16, 23, 26)]),
    "expanded-linear": (expanded_linear_block, [(1, 16, 23, 26)]),
    "ghostnetv3": (ghostnetv3_1x, [(1, 3, 224, 224)]),
    "mobileone-s0": (mobileone_s0, [(1, 3, 224, 224)]),
    "repvgg-a0": (repvgg_a0, [(1, 3, 224, 224)]),
    "repvgg-stack": (lambda: repvgg_stack(4, 64), [(1, 64, 56, 56)]),
    "sesr-m5-x2": (SESR, [(1, 1, 180, 320)]),
    "tiny-edsr": (lambda: EDSR(blocks=1, channels=8), [(1, 3, 13, 10)]),
    "tiny-ghostnetv3": (
        # an odd width inside a gated block: a channel of its second half is left out
        lambda: ghostnetv3(
            ((3, 8, 8, False, 1), (3, 12, 8, False, 2), (5, 11, 10, True, 2), (3, 14, 10, False, 1)),
            stem=8,
            head=12,
            classes=10,
        ),
        [(1, 3, 45, 50)],
    ),
    "tiny-mobileone": (lambda: mobileone((1, 2), (8, 8, 16), (2, 2), classes=10), [(1, 3, 30, 33)]),
    "tiny-repvgg": (lambda: repvgg((1, 2), (8, 16), classes=10), [(1, 3, 30, 33)]),
    "tiny-repvgg-stack": (lambda: repvgg_stack(2, 8), [(1, 8, 11, 14)]),
    "tiny-sesr": (lambda: SESR(blocks=2, channels=4, hidden=16), [(1, 1, 15, 18)]),
    **HEADS,
}
