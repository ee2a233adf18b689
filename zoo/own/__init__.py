"""Architectures written from their papers, in training form, the plain networks they equal, and heads of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import nn

from .blocks import DiverseBranchBlock, EdgeBlock, TenBranches, expanded_linear_block
from .branches import Branches
from .by_hand import merged_by_hand
from .densenet import densenet, densenet_121
from .edsr import EDSR, edsr_tail
from .fastvit import fastvit, fastvit_sa12, fastvit_t8
from .ghostnet import ghostnetv3, ghostnetv3_1x
from .heads import HEADS
from .mobileone import mobileone, mobileone_s0
from .poolformer import poolformer, poolformer_block, poolformer_s12
from .repvgg import repvgg, repvgg_a0, repvgg_stack
from .repvit import repvit, repvit_m09
from .sesr import SESR, CollapsibleLinear

__all__ = [
    "EDSR",
    "MODELS",
    "SESR",
    "Branches",
    "CollapsibleLinear",
    "DiverseBranchBlock",
    "EdgeBlock",
    "TenBranches",
    "densenet",
    "densenet_121",
    "edsr_tail",
    "expanded_linear_block",
    "fastvit",
    "fastvit_sa12",
    "fastvit_t8",
    "ghostnetv3",
    "ghostnetv3_1x",
    "merged_by_hand",
    "mobileone",
    "mobileone_s0",
    "poolformer",
    "poolformer_block",
    "poolformer_s12",
    "repvgg",
    "repvgg_a0",
    "repvgg_stack",
    "repvit",
    "repvit_m09",
]

#: Builder and input shapes by name. SESR's paper counts multiply-adds at twice this height and width.
MODELS: Mapping[str, tuple[Callable[[], nn.Module], Sequence[tuple[int, ...]]]] = {
    "dbb": (DiverseBranchBlock, [(1, 16, 23, 26)]),
    "densenet-121": (densenet_121, [(1, 3, 224, 224)]),
    "ecb": (EdgeBlock, [(1, 16, 23, 26)]),
    "edsr-baseline-x4": (EDSR, [(1, 3, 48, 48)]),
    "edsr-tail-x4": (edsr_tail, [(1, 64, 48, 48)]),
    "expanded-linear": (expanded_linear_block, [(1, 16, 23, 26)]),
    "fastvit-sa12": (fastvit_sa12, [(1, 3, 256, 256)]),
    "fastvit-t8": (fastvit_t8, [(1, 3, 256, 256)]),
    "ghostnetv3": (ghostnetv3_1x, [(1, 3, 224, 224)]),
    "mobileone-s0": (mobileone_s0, [(1, 3, 224, 224)]),
    "poolformer-block": (poolformer_block, [(1, 64, 56, 56)]),
    "poolformer-s12": (poolformer_s12, [(1, 3, 224, 224)]),
    "repvgg-a0": (repvgg_a0, [(1, 3, 224, 224)]),
    "repvgg-stack": (lambda: repvgg_stack(4, 64), [(1, 64, 56, 56)]),
    "repvit-m0.9": (repvit_m09, [(1, 3, 224, 224)]),
    "sesr-m5-x2": (SESR, [(1, 1, 180, 320)]),
    "ten-branch": (TenBranches, [(1, 4, 9, 16)]),
    "tiny-densenet": (lambda: densenet((2, 1), growth=4, classes=10), [(1, 3, 33, 38)]),
    "tiny-edsr": (lambda: EDSR(blocks=1, channels=8), [(1, 3, 13, 10)]),
    "tiny-fastvit": (lambda: fastvit((1, 1), (8, 32), ratio=2, classes=10), [(1, 3, 32, 40)]),
    "tiny-fastvit-attention": (
        lambda: fastvit((1, 1), (8, 32), ratio=2, attention=True, classes=10),
        [(1, 3, 32, 40)],
    ),
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
    "tiny-poolformer": (lambda: poolformer((1, 1), (8, 12), classes=10), [(1, 3, 33, 38)]),
    "tiny-poolformer-block": (lambda: poolformer_block(6, 2), [(1, 6, 7, 10)]),
    "tiny-repvgg": (lambda: repvgg((1, 2), (8, 16), classes=10), [(1, 3, 30, 33)]),
    "tiny-repvgg-stack": (lambda: repvgg_stack(2, 8), [(1, 8, 11, 14)]),
    "tiny-repvit": (lambda: repvit((1, 2), (8, 12), classes=10), [(1, 3, 30, 33)]),
    "tiny-sesr": (lambda: SESR(blocks=2, channels=4, hidden=16), [(1, 1, 15, 18)]),
    **HEADS,
}
