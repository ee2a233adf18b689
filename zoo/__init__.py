"""Models to fold in tests and benchmarks: some written from papers, some from `transformers` unmodified.

case = zoo.build("repvgg-a0")
y = case.model(*case.args, **case.kwargs)
"""

from __future__ import annotations

import torch

from . import hub, own
from .case import Case
from .count import Count, count
from .own import merged_by_hand
from .statistics import calibrate, randomise

__all__ = ["Case", "Count", "build", "calibrate", "count", "merged_by_hand", "names", "randomise"]

_RECIPES = {name: (recipe, [recipe.shape]) for name, recipe in hub.MODELS.items()} | dict(own.MODELS)


def names() -> list[str]:
    """Every name ``build`` knows, sorted; models small enough for a quick test begin with ``tiny-``."""
    return sorted(_RECIPES)


def build(name: str, seed: int = 0) -> Case:
    """The model in eval mode, weights and statistics random, on normal images; one seed, one case."""
    if name not in _RECIPES:
        raise KeyError(f"no model {name!r} in the zoo; zoo.names() lists them")
    builder, shapes = _RECIPES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        args = tuple(torch.randn(shape) for shape in shapes)
        model = builder().eval()
    calibrate(randomise(model, seed), args)
    return Case(name, model.train().eval(), args)  # train() empties LeViT's cache of attention biases
