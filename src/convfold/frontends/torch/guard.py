"""What a folded module refuses: inputs of sizes it was not made for, and state dicts that are not its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import _WrappedHook
from torch.utils import _pytree as pytree

from convfold.errors import InvalidInput


@dataclass(frozen=True)
class InputCheck:
    """A forward pre-hook: every tensor input has the sizes it was exported with, None where free.

    Inputs that are not tensors (flags, numbers) were compiled in: they must be what they were.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int | None, ...] | None, ...]
    values: tuple[Any, ...]
    parameters: tuple[str, ...]  # of `forward`, in order

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if (found := self.mismatch(args, kwargs)) is not None:
            raise InvalidInput(found)

    def mismatch(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        """What is not as it was, in words."""
        if len(kwargs) > 1:
            kwargs = {name: kwargs[name] for name in self.parameters if name in kwargs}
        leaves = pytree.tree_leaves((args, kwargs))
        if len(leaves) != len(self.shapes):
            return f"expected {len(self.shapes)} inputs, got {len(leaves)}"
        for name, shape, value, x in zip(self.names, self.shapes, self.values, leaves, strict=True):
            if shape is None or not isinstance(x, Tensor):
                if shape is not None or type(x) is not type(value) or x != value:
                    wanted = "a tensor" if shape is not None else f"{value!r}, which was compiled in"
                    return f"input {name!r}: expected {wanted}, got {x!r}"
                continue
            if x.dim() != len(shape) or any(n is not None and n != m for n, m in zip(shape, x.shape, strict=True)):
                wanted = ", ".join("any" if n is None else str(n) for n in shape)
                return (
                    f"input {name!r}: expected shape ({wanted}), got {tuple(x.shape)}; "
                    "fold with dynamic_shapes to leave a size free"
                )
        return None


def mismatch(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """What a folded module would refuse of these inputs; None where it takes them."""
    checks = [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, InputCheck)]
    return next(filter(None, (check.mismatch(args, kwargs) for check in checks)), None)


@dataclass(frozen=True)
class StateCheck:
    """A hook before a state dict is loaded: all or nothing, ``strict`` or not.

    A checkpoint of the original has some of the folded module's names, those of weights that were left alone. Loaded,
    it would leave new ones beside folded weights that are made of old ones. So a state dict must have every weight the
    plan computed; where it computed none but used some up (a scale by ones), it must have none of these.
    """

    computed: tuple[str, ...]
    used_up: tuple[str, ...]

    def __call__(self, module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        given = {name[len(prefix) :] for name in state_dict if name.startswith(prefix)}
        absent = [name for name in self.computed if name not in given]
        foreign = [] if self.computed else [name for name in self.used_up if name in given]
        if given and (absent or foreign):
            what = f"lacks {_some(absent)}, computed" if absent else f"has {_some(foreign)}, used up"
            raise InvalidInput(
                f"this state dict {what} by folding, so it is of the original model or of another fold; nothing was "
                f"loaded. Load a checkpoint of the original by result.load_original(state_dict){wrapped(given)}."
            )


def check_states(module: nn.Module, before: set[str], after: set[str]) -> None:
    """Make the module, and every module inside, refuse state dicts that are not its own.

    ``before``, ``after``: the weights read by the original and by the folded module.
    """
    _check(module, sorted(after - before), sorted(before - after))


def adopt_checks(module: nn.Module, other: nn.Module) -> None:
    """Make the module refuse the state dicts that another refuses, and no others."""
    for inner in module.modules():
        for key in _checks(inner):
            del inner._load_state_dict_pre_hooks[key]
    for check in _checks(other).values():
        _check(module, check.computed, check.used_up)


def _checks(module: nn.Module) -> dict[int, StateCheck]:
    hooks = module._load_state_dict_pre_hooks.items()
    wrapped = {key: hook.hook for key, hook in hooks if isinstance(hook, _WrappedHook)}
    return {key: hook for key, hook in wrapped.items() if isinstance(hook, StateCheck)}


def _check(module: nn.Module, computed: Sequence[str], used_up: Sequence[str]) -> None:
    for path, inner in module.named_modules():
        prefix = f"{path}." if path else ""
        inside = [tuple(n[len(prefix) :] for n in names if n.startswith(prefix)) for names in (computed, used_up)]
        if any(inside):
            inner.register_load_state_dict_pre_hook(StateCheck(*inside))


def wrapped(names: Iterable[str]) -> str:
    """What to do about names that all begin with what a wrapper (DataParallel, torch.compile) puts there."""
    given = list(names)
    wrapper = next((w for w in ("module.", "_orig_mod.") if given and all(n.startswith(w) for n in given)), None)
    return f"; take the {wrapper!r} off its names, a wrapper put it there" if wrapper else ""


def _some(names: list[str]) -> str:
    rest = len(names) - 1
    return repr(names[0]) + (f" and {rest} more" if rest else "")
