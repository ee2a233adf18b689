"""Models of published sizes at their published input sizes."""

from __future__ import annotations

from collections.abc import Mapping

from .recipe import Recipe

_CLASSIFY = "ForImageClassification"
_DETECT = "ForObjectDetection"
_SEGMENT = "ForSemanticSegmentation"
_DEPTH = "ForDepthEstimation"
_BOXES = ("logits", "pred_boxes")
_FEATURES = ("encoder_last_hidden_state",)
_CLASSES = {"num_labels": 1000}

_RT_DETR_R18 = {
    "num_labels": 80,
    "backbone_config": {
        "model_type": "rt_detr_resnet",
        "layer_type": "basic",
        "depths": [2, 2, 2, 2],
        "hidden_sizes": [64, 128, 256, 512],
        "out_indices": [2, 3, 4],
    },
    "encoder_in_channels": [128, 256, 512],
    "hidden_expansion": 0.5,
    "decoder_layers": 3,
}

_VIT_SMALL = {"hidden_size": 384, "num_attention_heads": 6}

_DEPTH_ANYTHING_SMALL = {
    "backbone_config": {
        "model_type": "dinov2",
        **_VIT_SMALL,
        "image_size": 518,
        "patch_size": 14,
        "out_indices": [3, 6, 9, 12],
        "reshape_hidden_states": False,
        "apply_layernorm": True,
    },
    "reassemble_hidden_size": 384,
    "neck_hidden_sizes": [48, 96, 192, 384],
    "fusion_hidden_size": 64,
}

_UPERNET_CONVNEXT_TINY = {
    "num_labels": 150,
    "backbone_config": {
        "model_type": "convnext",
        "depths": [3, 3, 9, 3],
        "hidden_sizes": [96, 192, 384, 768],
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    },
    "use_auxiliary_head": False,
    "auxiliary_in_channels": 384,
}

#: A DETR picks its queries by top-k, and rounding may swap two. The ``-encoder`` cases end before that.
PUBLISHED: Mapping[str, Recipe] = {
    "bit-50": Recipe("bit", "Bit", _CLASSIFY, (224, 224), _CLASSES),
    "convnext-tiny": Recipe("convnext", "ConvNext", _CLASSIFY, (224, 224), _CLASSES),
    "d-fine-l": Recipe("d_fine", "DFine", _DETECT, (640, 640), {"num_labels": 80}, _BOXES),
    "depth-anything-small": Recipe(
        "depth_anything", "DepthAnything", _DEPTH, (518, 518), _DEPTH_ANYTHING_SMALL, ("predicted_depth",)
    ),
    "dpt": Recipe("dpt", "DPT", _DEPTH, (384, 384), {**_VIT_SMALL, "intermediate_size": 1536}, ("predicted_depth",)),
    "levit-128": Recipe("levit", "Levit", _CLASSIFY, (224, 224), _CLASSES),
    "mobilenet-v2": Recipe("mobilenet_v2", "MobileNetV2", _CLASSIFY, (224, 224), _CLASSES),
    "pp-lcnet-v3": Recipe("pp_lcnet_v3", "PPLCNetV3", "Backbone", (224, 224), fields=("feature_maps",)),
    "resnet-18": Recipe(
        "resnet",
        "ResNet",
        _CLASSIFY,
        (224, 224),
        {**_CLASSES, "layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]},
    ),
    "rt-detr-r18": Recipe("rt_detr", "RTDetr", _DETECT, (640, 640), _RT_DETR_R18, _BOXES),
    "rt-detr-r18-encoder": Recipe("rt_detr", "RTDetr", _DETECT, (640, 640), _RT_DETR_R18, _FEATURES),
    "rt-detr-r50": Recipe("rt_detr", "RTDetr", _DETECT, (640, 640), {"num_labels": 80}, _BOXES),
    "rt-detr-r50-encoder": Recipe("rt_detr", "RTDetr", _DETECT, (640, 640), {"num_labels": 80}, _FEATURES),
    "segformer-b0": Recipe("segformer", "Segformer", _SEGMENT, (512, 512), {"num_labels": 150}),
    "segformer-b0-256": Recipe("segformer", "Segformer", _SEGMENT, (256, 256), {"num_labels": 150}),
    "swin-tiny": Recipe("swin", "Swin", _CLASSIFY, (224, 224), _CLASSES),
    "textnet": Recipe("textnet", "TextNet", _CLASSIFY, (224, 224), _CLASSES),
    "upernet-convnext-tiny": Recipe("upernet", "UperNet", _SEGMENT, (512, 512), _UPERNET_CONVNEXT_TINY),
    "vit-base": Recipe("vit", "ViT", _CLASSIFY, (224, 224), _CLASSES),
    "vit-small": Recipe(
        "vit",
        "ViT",
        _CLASSIFY,
        (224, 224),
        {**_CLASSES, **_VIT_SMALL, "intermediate_size": 1536},
    ),
}
