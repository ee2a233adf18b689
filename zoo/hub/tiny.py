"""The same architectures a few channels wide, as shallow as they go, on oblong images where they allow it."""

from __future__ import annotations

from collections.abc import Mapping

from .recipe import Recipe

_CLASSIFY = "ForImageClassification"
_CLASSES = {"num_labels": 7}
_BIT = {**_CLASSES, "embedding_size": 8, "num_groups": 4, "hidden_sizes": [16, 32], "depths": [1, 2]}
_RT_DETR = {
    "num_labels": 7,
    "backbone_config": {
        "model_type": "rt_detr_resnet",
        "layer_type": "basic",
        "embedding_size": 8,
        "depths": [1, 1, 1, 1],
        "hidden_sizes": [8, 12, 16, 24],
        "out_indices": [2, 3, 4],
    },
    "encoder_in_channels": [12, 16, 24],
    "encoder_hidden_dim": 16,
    "encoder_ffn_dim": 16,
    "encoder_attention_heads": 2,
    "d_model": 16,
    "decoder_in_channels": [16, 16, 16],
    "decoder_ffn_dim": 16,
    "decoder_attention_heads": 2,
    "decoder_layers": 1,
    "num_queries": 5,
}

TINY: Mapping[str, Recipe] = {
    "tiny-bit": Recipe("bit", "Bit", _CLASSIFY, (45, 50), _BIT),
    "tiny-bit-same": Recipe("bit", "Bit", _CLASSIFY, (45, 50), {**_BIT, "global_padding": "same"}),
    "tiny-convnext": Recipe(
        "convnext",
        "ConvNext",
        _CLASSIFY,
        (32, 40),
        {**_CLASSES, "num_stages": 2, "depths": [1, 1], "hidden_sizes": [8, 12]},
    ),
    "tiny-depth-anything": Recipe(
        "depth_anything",
        "DepthAnything",
        "ForDepthEstimation",
        (32, 48),
        {
            "backbone_config": {
                "model_type": "dinov2",
                "hidden_size": 16,
                "num_attention_heads": 2,
                "num_hidden_layers": 4,
                "mlp_ratio": 2,
                "image_size": 32,
                "patch_size": 8,
                "out_indices": [1, 2, 3, 4],
                "reshape_hidden_states": False,
                "apply_layernorm": True,
            },
            "patch_size": 8,
            "reassemble_hidden_size": 16,
            "neck_hidden_sizes": [4, 6, 8, 12],
            "fusion_hidden_size": 6,
            "head_hidden_size": 5,
        },
        ("predicted_depth",),
    ),
    "tiny-dpt": Recipe(
        "dpt",
        "DPT",
        "ForDepthEstimation",
        (32, 32),
        {
            "hidden_size": 16,
            "num_attention_heads": 2,
            "num_hidden_layers": 4,
            "intermediate_size": 24,
            "image_size": 32,
            "patch_size": 8,
            "backbone_out_indices": [0, 1, 2, 3],
            "neck_hidden_sizes": [4, 6, 8, 12],
            "fusion_hidden_size": 8,
        },
        ("predicted_depth",),
    ),
    "tiny-levit": Recipe(
        "levit",
        "Levit",
        _CLASSIFY,
        (64, 64),
        {
            **_CLASSES,
            "image_size": 64,
            "hidden_sizes": [32, 48, 64],
            "num_attention_heads": [2, 3, 4],
            "key_dim": [8, 8, 8],
            "depths": [1, 1, 1],
        },
    ),
    "tiny-mobilenet-v2": Recipe(
        "mobilenet_v2", "MobileNetV2", _CLASSIFY, (45, 50), {**_CLASSES, "depth_multiplier": 0.1}
    ),
    "tiny-pp-lcnet-v3": Recipe(
        "pp_lcnet_v3",
        "PPLCNetV3",
        "Backbone",
        (30, 37),
        {
            "stem_channels": 8,
            "conv_symmetric_num": 2,
            # kernel size, channels in, channels out, stride, squeeze and excitation
            "block_configs": [
                [[3, 8, 16, 1, False]],
                [[3, 16, 16, 2, False]],
                [[3, 16, 16, 1, False]],
                [[5, 16, 24, 1, False]],
                [[5, 24, 24, 2, True]],
            ],
        },
        ("feature_maps",),
    ),
    "tiny-resnet": Recipe(
        "resnet",
        "ResNet",
        _CLASSIFY,
        (45, 50),
        {**_CLASSES, "layer_type": "basic", "embedding_size": 8, "depths": [1, 1], "hidden_sizes": [8, 16]},
    ),
    "tiny-rt-detr": Recipe("rt_detr", "RTDetr", "ForObjectDetection", (64, 96), _RT_DETR, ("logits", "pred_boxes")),
    "tiny-segformer": Recipe(
        "segformer",
        "Segformer",
        "ForSemanticSegmentation",
        (64, 96),
        {
            **_CLASSES,
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [8, 12, 16, 24],
            "num_attention_heads": [1, 2, 2, 2],
            "mlp_ratios": [2, 2, 2, 2],
            "decoder_hidden_size": 16,
        },
    ),
    "tiny-swin": Recipe(
        "swin",
        "Swin",
        _CLASSIFY,
        (32, 32),
        {
            **_CLASSES,
            "image_size": 32,
            "patch_size": 2,
            "embed_dim": 8,
            "depths": [2, 1],
            "num_heads": [1, 2],
            "window_size": 4,
        },
    ),
    "tiny-textnet": Recipe(
        "textnet",
        "TextNet",
        _CLASSIFY,
        (33, 38),
        {
            **_CLASSES,
            "stem_out_channels": 8,
            "hidden_sizes": [8, 8, 12, 12, 16],
            "conv_layer_kernel_sizes": [[[3, 3]], [[1, 3]], [[3, 1]], [[3, 3]]],
            "conv_layer_strides": [[1], [2], [1], [1]],
        },
    ),
    "tiny-upernet": Recipe(
        "upernet",
        "UperNet",
        "ForSemanticSegmentation",
        (64, 96),
        {
            **_CLASSES,
            "hidden_size": 12,
            "backbone_config": {
                "model_type": "convnext",
                "depths": [1, 1, 1, 1],
                "hidden_sizes": [8, 8, 12, 16],
                "out_features": ["stage1", "stage2", "stage3", "stage4"],
            },
            "use_auxiliary_head": False,
            "auxiliary_in_channels": 12,
        },
    ),
    "tiny-vit": Recipe(
        "vit",
        "ViT",
        _CLASSIFY,
        (32, 32),
        {
            **_CLASSES,
            "image_size": 32,
            "patch_size": 8,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 24,
        },
    ),
}
