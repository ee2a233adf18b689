"""Every operator of torch's core ATen set that no layer file reads, and why."""

from __future__ import annotations

import torch

_CURVED = "not affine: a curve of every number by itself"
_CHOSEN = "not affine: which numbers it takes depends on them"
_NORM = "not affine: divides by what it computes of the signal"
_PRODUCT = "not affine: multiplies signals with each other"
_WHOLE = "computes whole numbers or truths, no signal"
_CONSTANT = "computes constants or random numbers, of no signal"
_SIZES = "asks for a size: computes no numbers"
_BACKWARD = "of a backward pass, which no exported model has"
_POSITIONS = "affine where its other inputs are constant, but another map at every position"
_CHANGED = "affine where its index is constant, but writes into a part of a constant or of the signal"
_FOURIER = "linear, but of complex numbers"
_LOOKED_UP = "takes rows of a table by whole numbers, which are no signal"

_KINDS = {
    _CURVED: """abs acos acosh asin asinh atan atan2 atanh ceil clamp cos cosh div.Scalar_mode div.Tensor_mode elu erf
        exp expm1 floor fmod gelu hardtanh leaky_relu log log10 log1p log2 pow reciprocal relu remainder round rsqrt
        sigmoid sign sin sinh sqrt tan tanh trunc""",
    _CHOSEN: """amax amin max max_pool2d_with_indices max_pool3d_with_indices maximum min minimum nonzero masked_scatter
        sort topk""",
    _NORM: "_log_softmax _softmax native_group_norm native_layer_norm var",
    _PRODUCT: "prod _cdist_forward _pdist_forward",
    _WHOLE: """any argmax argmin bitwise_and bitwise_not bitwise_or bitwise_xor eq ge gt isinf isnan le logical_and
        logical_not logical_or logical_xor lt ne""",
    _CONSTANT: """arange empty empty_strided fill full full_like rand randn randperm scalar_tensor""",
    _SIZES: "_local_scalar_dense resize_ sym_is_contiguous sym_numel sym_size sym_storage_offset sym_stride",
    _BACKWARD: """_adaptive_avg_pool2d_backward avg_pool2d_backward convolution_backward embedding_dense_backward
        max_pool2d_with_indices_backward native_group_norm_backward native_layer_norm_backward""",
    _POSITIONS: "diagonal grid_sampler_2d",
    _CHANGED: "copy index_put scatter scatter_add scatter_reduce",
    _FOURIER: "_fft_c2r _fft_r2c",
    _LOOKED_UP: "_embedding_bag embedding",
    "affine, but reads memory, not a signal": "as_strided",
    "affine, but to one number, which no layer follows": "mean.default",
}

_LEFT = {name: why for why, names in _KINDS.items() for name in names.split()}


def core_aten() -> list[str]:
    """The overloads of the core ATen set of the torch in use, by name: ``add.Tensor``."""
    found = []
    for full in torch._C._dispatch_get_all_op_names():  # what the namespace lists grows as it is asked
        space, _, name = full.partition("::")
        packet, _, overload = name.partition(".")
        if space == "aten" and hasattr(torch.ops.aten, packet):
            overload = overload or "default"
            if torch.Tag.core in getattr(getattr(torch.ops.aten, packet), overload).tags:
                found.append(f"{packet}.{overload}")
    return sorted(found)


def why_left(overload: str) -> str | None:
    """The reason for an overload; None where it is on no list."""
    return _LEFT.get(overload) or _LEFT.get(overload.partition(".")[0])
