"""Models of published sizes at their published input sizes."""

from __future__ import annotations

from collections.abc import Mapping

from .recipe import Recipe

_CLASSIFY = "ForImageClassification"
_DETECT = "ForObjectDetection"
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

#: A DETR picks its queries by top-k, and rounding may swap two. The ``-encoder`` cases end before that.
PUBLISHED: Mapping[str, Recipe] = {
    "bit-50": Recipe("bit", "Bit", _CLASSIFY, (224, 224), _CLASSES),
    "convnext-tiny": Recipe("convnext", "ConvNext", _CLASSIFY, (224, 224), _CLASSES),
    "d-fine-l": Recipe("d_fine", "DFine", _DETECT, (640, 640), {"num_labels": 80}, _BOXES),
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
    "segformer-b0": Recipe("segformer", "Segformer", "ForSemanticSegmentation", (512, 512), {"num_labels": 150}),
    "textnet": Recipe("textnet", "TextNet", _CLASSIFY, (224, 224), _CLASSES),
    "vit-base": Recipe("vit", "ViT", _CLASSIFY, (224, 224), _CLASSES),
    "vit-small": Recipe(
        "vit",
        "ViT",
        _CLASSIFY,
        (224, 224),
        {**_CLASSES, "hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536},
    ),
}
