"""Architectures written from their papers, in training form, the plain networks they equal, and heads of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import nn

from .blocks import DiverseBranchBlock, EdgeBlock, TenBranches, expanded_linear_block
from .branches import Branches
from .by_hand import merged_by_hand
from .csrnet import csrnet
from .densenet import densenet, densenet_121
from .edsr import EDSR, edsr_tail
from .fastvit import fastvit, fastvit_sa12, fastvit_t8
from .fsrcnn import fsrcnn
from .gcn import GCN, gcn_50
from .generators import dcgan, infogan
from .ghostnet import ghostnetv3, ghostnetv3_1x
from .heads import HEADS
from .mobileone import mobileone, mobileone_s0
from .poolformer import poolformer, poolformer_block, poolformer_s12
from .ppocr import TextDetector
from .repvgg import repvgg, repvgg_a0, repvgg_stack
from .repvit import repvit, repvit_m09
from .sesr import SESR, CollapsibleLinear
from .unet import UNet
from .yolo import Detector, yolo_small

__all__ = [
    "EDSR",
    "GCN",
    "MODELS",
    "SESR",
    "Branches",
    "CollapsibleLinear",
    "Detector",
    "DiverseBranchBlock",
    "EdgeBlock",
    "TenBranches",
    "TextDetector",
    "UNet",
    "csrnet",
    "dcgan",
    "densenet",
    "densenet_121",
    "edsr_tail",
    "expanded_linear_block",
    "fastvit",
    "fastvit_sa12",
    "fastvit_t8",
    "fsrcnn",
    "gcn_50",
    "ghostnetv3",
    "ghostnetv3_1x",
    "infogan",
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
    "yolo_small",
]

#: Builder and input shapes by name. SESR's paper counts multiply-adds at twice this height and width.
MODELS: Mapping[str, tuple[Callable[[], nn.Module], Sequence[tuple[int, ...]]]] = {
    "csrnet": (csrnet, [(1, 3, 384, 512)]),
    "dbb": (DiverseBranchBlock, [(1, 16, 23, 26)]),
    "dcgan-generator": (dcgan, [(1, 100, 1, 1)]),
    "densenet-121": (densenet_121, [(1, 3, 224, 224)]),
    "ecb": (EdgeBlock, [(1, 16, 23, 26)]),
    "edsr-baseline-x4": (EDSR, [(1, 3, 48, 48)]),
    "edsr-tail-x4": (edsr_tail, [(1, 64, 48, 48)]),
    "expanded-linear": (expanded_linear_block, [(1, 16, 23, 26)]),
    "fastvit-sa12": (fastvit_sa12, [(1, 3, 256, 256)]),
    "fastvit-t8": (fastvit_t8, [(1, 3, 256, 256)]),
    "fsrcnn-x3": (fsrcnn, [(1, 1, 180, 320)]),
    "gcn-50": (gcn_50, [(1, 3, 512, 512)]),
    "ghostnetv3": (ghostnetv3_1x, [(1, 3, 224, 224)]),
    "infogan-generator": (infogan, [(1, 228)]),
    "mobileone-s0": (mobileone_s0, [(1, 3, 224, 224)]),
    "poolformer-block": (poolformer_block, [(1, 64, 56, 56)]),
    "poolformer-s12": (poolformer_s12, [(1, 3, 224, 224)]),
    "pp-ocrv4-like-detector": (TextDetector, [(1, 3, 640, 640)]),
    "repvgg-a0": (repvgg_a0, [(1, 3, 224, 224)]),
    "repvgg-stack": (lambda: repvgg_stack(4, 64), [(1, 64, 56, 56)]),
    "repvit-m0.9": (repvit_m09, [(1, 3, 224, 224)]),
    "sesr-m5-x2": (SESR, [(1, 1, 180, 320)]),
    "ten-branch": (TenBranches, [(1, 4, 9, 16)]),
    "tiny-csrnet": (lambda: csrnet(((4, 6), (8,)), (8, 6)), [(1, 3, 14, 17)]),
    "tiny-dcgan-generator": (lambda: dcgan(10, (12, 8, 6)), [(2, 10, 1, 1)]),
    "tiny-densenet": (lambda: densenet((2, 1), growth=4, classes=10), [(1, 3, 33, 38)]),
    "tiny-edsr": (lambda: EDSR(blocks=1, channels=8), [(1, 3, 13, 10)]),
    "tiny-fastvit": (lambda: fastvit((1, 1), (8, 32), ratio=2, classes=10), [(1, 3, 32, 40)]),
    "tiny-fastvit-attention": (
        lambda: fastvit((1, 1), (8, 32), ratio=2, attention=True, classes=10),
        [(1, 3, 32, 40)],
    ),
    "tiny-fsrcnn": (lambda: fsrcnn(features=8, mapped=4, depth=2), [(1, 1, 11, 14)]),
    "tiny-gcn": (lambda: GCN((2, 1), (16, 24), classes=5, k=5), [(1, 3, 32, 40)]),
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
    "tiny-infogan-generator": (lambda: infogan(12, (16, 12, 8)), [(2, 12)]),
    "tiny-mobileone": (lambda: mobileone((1, 2), (8, 8, 16), (2, 2), classes=10), [(1, 3, 30, 33)]),
    "tiny-poolformer": (lambda: poolformer((1, 1), (8, 12), classes=10), [(1, 3, 33, 38)]),
    "tiny-poolformer-block": (lambda: poolformer_block(6, 2), [(1, 6, 7, 10)]),
    "tiny-pp-ocrv4-like-detector": (
        lambda: TextDetector(
            8, 8, (((3, 12, 2, False),), ((5, 16, 2, True), (3, 16, 1, False))), taps=(4, 10), width=16
        ),
        [(1, 3, 32, 40)],
    ),
    "tiny-repvgg": (lambda: repvgg((1, 2), (8, 16), classes=10), [(1, 3, 30, 33)]),
    "tiny-repvgg-stack": (lambda: repvgg_stack(2, 8), [(1, 8, 11, 14)]),
    "tiny-repvit": (lambda: repvit((1, 2), (8, 12), classes=10), [(1, 3, 30, 33)]),
    "tiny-sesr": (lambda: SESR(blocks=2, channels=4, hidden=16), [(1, 1, 15, 18)]),
    "tiny-unet": (lambda: UNet(4, 3), [(1, 3, 12, 20)]),
    "tiny-yolo": (lambda: Detector((4, 8, 8, 12, 16), (1, 2, 1, 1), classes=3, anchors=2), [(1, 3, 32, 64)]),
    "unet": (UNet, [(1, 3, 256, 256)]),
    "yolo-small": (yolo_small, [(1, 3, 640, 640)]),
    **HEADS,
}
