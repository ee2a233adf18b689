"""How a checkpoint of the original reaches a folded module: new weights in the kept program, new numbers in place."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from convfold.errors import InvalidInput
from convfold.frontends.torch.guard import adopt_checks, wrapped
from convfold.frontends.torch.read import Source


def reweighted(source: Source, state_dict: Mapping[str, Any]) -> Source:
    """The source with these weights, copied; the user's model and its tensors stay as they are.

    One tensor under several names stays one: the last name's numbers count, as when a module loads them, and some of
    the names may be missing. What is in no state dict (constants, buffers that are not saved) is kept.

    Raises:
        InvalidInput: names are missing or unexpected, shapes differ, or something is no tensor.
    """
    old = source.program.state_dict
    _check_names(old, state_dict)
    made: dict[Any, Tensor] = {}
    for name, t in old.items():
        if name in state_dict:
            made[_identity(t)] = _filled(t, state_dict[name])
    program = copy.copy(source.program)  # its constructor would check and compile the same graph again
    program._state_dict = {name: made[_identity(t)] for name, t in old.items()}
    return replace(source, program=program)


def _check_names(old: Mapping[str, Tensor], new: Mapping[str, Any]) -> None:
    if not isinstance(new, Mapping) or not all(isinstance(t, Tensor) for t in new.values()):
        kind = type(new).__name__ if not isinstance(new, Mapping) else "dict of other things than tensors"
        raise InvalidInput(f"a state dict maps names to tensors, got a {kind}; give what model.state_dict() returned")
    found = {_identity(t) for name, t in old.items() if name in new}
    problems = [
        _listed("missing", [name for name, t in old.items() if _identity(t) not in found]),
        _listed("unexpected", [name for name in new if name not in old]),
        _listed(
            "of another shape",
            [
                f"{name} {tuple(t.shape)} for {tuple(old[name].shape)}"
                for name, t in new.items()
                if name in old and t.shape != old[name].shape
            ],
        ),
    ]
    if any(problems):
        raise InvalidInput(f"not a checkpoint of the original model: {', '.join(filter(None, problems))}{wrapped(new)}")


def _listed(what: str, names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{what}: {', '.join(names[:3])}{more}" if names else ""


def _identity(t: Tensor) -> Any:
    """The same for two names of one tensor."""
    return (t.data_ptr(), t.shape, t.stride()) if t.numel() and not t.is_meta else id(t)


def _filled(like: Tensor, values: Tensor) -> Tensor:
    """The values in the type, device and memory format of another tensor."""
    new = torch.empty_like(like, requires_grad=False)
    with torch.no_grad():
        new.copy_(values)
    return nn.Parameter(new, like.requires_grad) if isinstance(like, nn.Parameter) else new


def take_over(module: GraphModule, fresh: GraphModule) -> None:
    """Give ``module`` the numbers, and where it differs the graph, of ``fresh``; it stays the same object.

    Weights keep their tensors, types, devices and whether they require gradients; those that are new get the type and
    device that the others have now. Buffers that are not saved keep what they hold.

    Raises:
        InvalidInput: the module's weights are not those it was folded with (renamed, pruned, parametrised).
    """
    own, new = _weights(module), _weights(fresh)
    read = {str(n.target) for n in module.graph.nodes if n.op == "get_attr"} - dict(module.named_modules()).keys()
    if changed := sorted(own.keys() ^ read):
        raise InvalidInput(f"the folded module was changed since: {_listed('other weights', changed)}; fold again")
    same = module.code == fresh.code and {n: t.shape for n, t in own.items()} == {n: t.shape for n, t in new.items()}
    unsaved = {n for n in new if n not in fresh.state_dict()}
    with torch.no_grad():
        for name, t in new.items():
            if name in own and own[name].shape == t.shape:
                if name not in unsaved:
                    own[name].copy_(t)
                new[name] = own[name]
            else:
                new[name] = _moved(t, own)
    if not same:
        _rebuilt(module, fresh, new, unsaved)


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def _moved(t: Tensor, others: Mapping[str, Tensor]) -> Tensor:
    """A new weight with the type and device that all others share, if they do."""
    devices = {o.device for o in others.values()}
    types = {o.dtype for o in others.values() if o.is_floating_point()}
    dtype = types.pop() if len(types) == 1 and t.is_floating_point() else t.dtype
    moved = t.detach().to(devices.pop() if len(devices) == 1 else t.device, dtype)
    trains = t.requires_grad and any(o.requires_grad for o in others.values())
    return nn.Parameter(moved, trains) if isinstance(t, nn.Parameter) else moved


def _rebuilt(module: GraphModule, fresh: GraphModule, weights: Mapping[str, Tensor], unsaved: set[str]) -> None:
    for path in _weights(module):
        owner, _, name = path.rpartition(".")
        delattr(module.get_submodule(owner), name)
    for path, t in weights.items():
        owner, _, name = path.rpartition(".")
        inner: nn.Module = module
        for part in owner.split(".") if owner else ():
            if part not in inner._modules:
                inner.add_module(part, nn.Module())
            inner = inner.get_submodule(part)
        if isinstance(t, nn.Parameter):
            inner.register_parameter(name, t)
        else:
            inner.register_buffer(name, t, persistent=path not in unsaved)
    module.graph = copy.deepcopy(fresh.graph)
    adopt_checks(module, fresh)
