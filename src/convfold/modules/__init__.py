"""fold_() and unfold_(): a model folded where it is, its module tree kept.

A fold of the whole says where something changes. Layers that follow one another become one layer at the place of one of
them, and identities at the others; what is computed inside a module's own forward becomes a folded form of that module,
which keeps its class, attributes and hooks. What reaches across modules is folded in the smallest module that holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from convfold.collector import collector_paused
from convfold.config import FoldConfig
from convfold.errors import InvalidInput, VerificationFailed
from convfold.frontends.torch.read import refuse_training
from convfold.frontends.torch.running.state import seeded, untouched
from convfold.modules import folded
from convfold.modules.places import Folded, Merged, Place, Places, apart
from convfold.modules.seen import seen
from convfold.report import Refused
from convfold.verify import verify

__all__ = ["Folded", "Folding", "Merged", "fold_", "unfold_"]

#: Under this name a module keeps the layers that were its own before.
_LAYERS = "_layers_before_folding"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Folding:
    """What was folded where, and what was left."""

    model: nn.Module = field(repr=False)
    places: tuple[Place, ...]
    refused: tuple[Refused, ...]

    @property
    def weights(self) -> dict[str, tuple[str, ...]]:
        """Of every weight of the model those of the original that it was composed of; of one that stayed, itself."""
        made_of = {name: of for place in self.places for name, of in place.weights().items()}
        return {name: made_of.get(name, (name,)) for name in self.model.state_dict()}

    @collector_paused()
    def convert(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A checkpoint of the original as one of the folded model: composed as planned before, and nothing exported.

        Raises:
            InvalidInput: the names or shapes are not the original's, or the new weights ask for another plan (a bias
                that was all zeros and is not now): undo, load and fold again.
        """
        wanted = self.weights
        missing = sorted({of for names in wanted.values() for of in names} - state_dict.keys())
        if missing:
            raise InvalidInput(f"not a checkpoint of the original model: it lacks {missing[0]!r}")
        made = {name: t for place in self.places for name, t in place.convert(state_dict).items()}
        return {name: made[name] if name in made else state_dict[name] for name in wanted}

    def undo(self) -> None:
        """The model as it was."""
        unfold_(self.model)


@seeded(0)
@collector_paused()
def fold_(
    model: nn.Module,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    boundaries: Iterable[str] = (),
    depth: int = 0,
    config: FoldConfig | None = None,
    progress: Progress = lambda stage: None,
) -> Folding:
    """Fold a model where it is: its class, its module tree, its attributes and hooks stay.

    Args:
        model: in eval mode. It is changed; `unfold_` undoes that.
        args, kwargs: what it is called with once, to see what each module in it is called with. A module that is
            replaced takes inputs like those: with another batch, not of another size.
        boundaries: globs over module paths; nothing is folded across the edge of such a module.
        depth: modules so many levels below the model, and less, are kept apart likewise.
        config: see `FoldConfig`. The guard times whole models and has no part here.
        progress: called with what is done as it begins.

    Raises:
        InvalidInput: the model or inputs cannot be used, or a glob matches no module.
        VerificationFailed: what is folded computes something else; the model is as it was.
    """
    if not isinstance(model, nn.Module):
        raise InvalidInput(f"fold_ changes an nn.Module where it is, not a {type(model).__name__}; take fold")
    refuse_training(model)
    args = (args,) if isinstance(args, Tensor) else tuple(args or ())
    kwargs, boundaries = dict(kwargs or {}), tuple(boundaries)
    config = replace(config or FoldConfig(), guard=False)
    paths = [path for path, _ in model.named_modules()]
    config.check_globs(paths)
    for glob in boundaries:
        if not any(fnmatchcase(path, glob) for path in paths):
            raise InvalidInput(f"boundary {glob!r} matches no module of the model")
    if depth < 0:
        raise InvalidInput(f"depth={depth}: expected how many levels of modules are kept apart, 0 or more")
    boundaries += tuple(path for path in paths if path and path.count(".") < depth)
    calls, expected = seen(model, args, kwargs)
    found = Places(model, calls, boundaries, config, progress)
    places = apart(found.within().places)
    try:
        for place in places:
            _put(model, place)
        with untouched(model), torch.no_grad():
            # Where a model loses its numbers in its own rounding, no two of its outputs agree; then each part has to.
            same = _agree(model(*args, **kwargs), expected) or _each_agrees(model, places, args, kwargs)
        if not same:
            raise VerificationFailed(
                "the folded model differs, and is as it was. This is a bug in convfold; please report it with the "
                "model. Folding with `boundaries` or `exclude` around the part at fault avoids it."
            )
    except BaseException:
        unfold_(model)
        raise
    return Folding(model, places, tuple(found.refused))


def unfold_(model: nn.Module) -> nn.Module:
    """A model that was folded where it is, as it was before; any other is left alone."""
    for m in list(model.modules()):
        folded.restore(m)
    for m in model.modules():
        for name, layer in m.__dict__.pop(_LAYERS, {}).items():
            m._modules[name] = layer
    return model


def _put(model: nn.Module, place: Place) -> None:
    if isinstance(place, Folded):
        folded.replace(model.get_submodule(place.path), place.result.module)
        return
    for path in place.paths:
        parent, _, name = path.rpartition(".")
        held = model.get_submodule(parent)
        held.__dict__.setdefault(_LAYERS, {})[name] = held._modules[name]
        held._modules[name] = place.layer if path == place.at else nn.Identity()


def _each_agrees(model: nn.Module, places: Iterable[Place], args: Any, kwargs: Any) -> bool:
    """Does each place compute, of what it is given in the folded model, what was there before?"""
    given: dict[nn.Module, Any] = {}
    agreed, hooks = [True], []

    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        given[module] = pytree.tree_map_only(Tensor, torch.clone, (args, kwargs))  # it may write into them

    for place in places:
        own: nn.Module
        made: nn.Module | None
        if isinstance(place, Folded):
            module = model.get_submodule(place.path)
            own, made = folded.original(module), place.result.module
        else:
            module, own, made = place.layer, nn.Sequential(*place.layers), None

        def after(
            module: nn.Module, args: Any, kwargs: Any, y: Any, own: nn.Module = own, made: nn.Module | None = made
        ) -> None:
            # What picks the best of nearly equal scores may pick another; the verdict tells that from a mistake.
            args, kwargs = given.pop(module)
            same = _agree(y, own.forward(*args, **kwargs))
            if not same and made is not None:
                same = verify(own, made, args, kwargs, thorough=False).passed
            agreed.append(same)

        hooks += [module.register_forward_pre_hook(before, with_kwargs=True)]
        hooks += [module.register_forward_hook(after, with_kwargs=True)]
    try:
        model(*args, **kwargs)
        return all(agreed)
    finally:
        for hook in hooks:
            hook.remove()


def _agree(got: Any, expected: Any) -> bool:
    """Is everything where it belongs? Each part was compared by itself, in float64."""
    pairs = zip(pytree.tree_leaves(got), pytree.tree_leaves(expected), strict=True)
    return all(_near(y, z) for y, z in pairs if isinstance(z, Tensor) and z.is_floating_point())


def _near(y: Tensor, z: Tensor) -> bool:
    eps = max(torch.finfo(z.dtype).eps, torch.finfo(torch.float32).eps)
    most = eps**0.5 * float(z.double().norm())
    return y.shape == z.shape and float((y.double() - z.double()).norm()) <= most
