"""Models as the libraries of others give them, called as they are called: with the library's own arguments and outputs.

case = build("clip")
outputs = case.model(*case.args, **case.kwargs)

`transformers` is among the development requirements. `timm` and `diffusers` are not: timm asks for torchvision, which
has no build without CUDA everywhere. ``pip install --no-deps timm diffusers`` is enough, with Pillow, PyYAML and
requests beside them; what timm imports of torchvision it does not need to compute, and a stand-in gives the names.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import nn

import zoo
from zoo.hub import Plain

#: One size of each family that timm can re-parameterise.
TIMM = (
    "repvgg_a0", "mobileone_s0", "fastvit_t8", "repvit_m0_9", "repghostnet_050", "levit_128s", "efficientvit_m0",
    "shvit_s1", "tiny_vit_5m_224", "iformer_t", "efficientvim_m1", "ghostnetv3_050", "nextvit_small",
)  # fmt: skip

_Built = tuple[nn.Module, tuple[Any, ...], dict[str, Any]]


def _clip() -> _Built:
    from transformers import CLIPConfig, CLIPModel

    words = torch.randint(1000, (2, 16))
    return CLIPModel(CLIPConfig()), (), {"input_ids": words, "pixel_values": torch.randn(2, 3, 224, 224)}


def _whisper() -> _Built:
    from transformers import WhisperConfig, WhisperModel

    config = WhisperConfig(
        d_model=768, encoder_layers=12, encoder_attention_heads=12, encoder_ffn_dim=3072,
        decoder_layers=1, decoder_attention_heads=12, decoder_ffn_dim=3072,
    )  # fmt: skip
    return WhisperModel(config).get_encoder(), (torch.randn(1, 80, 3000),), {}


def _mobilevit() -> _Built:
    from transformers import MobileViTConfig, MobileViTForImageClassification

    model = MobileViTForImageClassification(MobileViTConfig())
    return model, (), {"pixel_values": torch.randn(1, 3, 256, 256), "output_hidden_states": True}


def _vae() -> _Built:
    model = importlib.import_module("diffusers").AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    return model, (torch.randn(1, 3, 128, 128),), {}


_OTHERS: Mapping[str, Callable[[], _Built]] = {
    "clip-vit-b32": _clip,
    "whisper-small-encoder": _whisper,
    "mobilevit-small": _mobilevit,
    "stable-diffusion-vae": _vae,
}
OTHERS = tuple(_OTHERS)


def build(name: str, seed: int = 0) -> zoo.Case:
    """By a name of `OTHERS`, ``timm/<a name of timm's>``, or of the zoo; weights and statistics are random."""
    if name in zoo.names():
        case = zoo.build(name, seed)
        if isinstance(case.model, Plain):  # the library's own outputs in place of some of its tensors
            return zoo.Case(name, case.model.model, (), {"pixel_values": case.args[0]})
        return case
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, args, kwargs = _timm(name.removeprefix("timm/")) if name.startswith("timm/") else _OTHERS[name]()
    model = zoo.randomise(model.eval(), seed)
    return zoo.Case(name, zoo.calibrate(model, args, kwargs).train().eval(), args, kwargs)


def missing(name: str) -> str | None:
    """The package that is not installed, without which there is no such model."""
    package = "timm" if name.startswith("timm/") else "diffusers" if name == "stable-diffusion-vae" else "transformers"
    return package if importlib.util.find_spec(package) is None else None


def _timm(name: str) -> _Built:
    model = timm().create_model(name)
    return model, (torch.randn(1, *model.default_cfg["input_size"]),), {}


def timm() -> Any:
    """The package, with names in place of torchvision where there is none."""
    if importlib.util.find_spec("torchvision") is None:
        for module in _TORCHVISION:
            sys.modules[module] = _StandIn(module)
            if "." in module:
                package, _, last = module.rpartition(".")
                setattr(sys.modules[package], last, sys.modules[module])
    return importlib.import_module("timm")


_TORCHVISION = (
    "torchvision",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "torchvision.ops",
    "torchvision.ops.misc",
    "torchvision.models",
    "torchvision.models.feature_extraction",
    "torchvision.datasets",
    "torchvision.datasets.folder",
)


class _Named(type):
    """A class that has every attribute, of which each is its name."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return f"{cls.__name__}.{name}"


class _StandIn(ModuleType):
    """A module that has every name, of which none computes."""

    __version__ = "0"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        self.__spec__ = SimpleNamespace(name=name, loader=None, origin=None, submodule_search_locations=[])  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Named(name, (), {})
