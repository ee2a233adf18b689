"""What may a pickle ask for? Only what tensors and registered containers are rebuilt from, while it is loaded too."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, ClassVar

import torch
from torch._utils import IMPORT_MAPPING, NAME_MAPPING
from torch._weights_only_unpickler import _get_allowed_globals, _get_user_allowed_globals
from torch.utils import _pytree as pytree

from convfold.errors import InvalidInput

#: Given a storage's key, its bytes as a flat uint8 tensor.
Storages = Callable[[str], torch.Tensor]

_PLAIN = (list, dict, tuple, set, int, float, str, bool)


def allowed() -> dict[str, Any]:
    """What a pickle may ask for, by name.

    What torch's own restricted unpickler gives for tensors, what the user has declared safe
    (``torch.serialization.add_safe_globals``), the classes registered as containers in this process, and those of
    plain values.
    """
    unnamed = pytree.NO_SERIALIZED_TYPE_NAME_FOUND
    registered = (c for name, c in pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE.items() if name != unnamed)
    classes = (c for c in (*_PLAIN, *registered) if isinstance(c, type))
    ours = {f"{c.__module__}.{c.__qualname__}": c for c in classes}
    return {**ours, **_get_user_allowed_globals(), **_get_allowed_globals()}


def unpickled(data: bytes, storages: Storages) -> Any:
    """What ``torch.save`` pickled, made of `allowed` things only.

    Raises:
        InvalidInput: it asks for anything else, or would call or change something else.
    """
    try:
        return _Unpickler(data, storages, allowed()).load()
    finally:
        torch._utils._validate_loaded_sparse_tensors()


def full_name(module: str, name: str) -> str:
    """As it is called since Python 3."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"


class _Unpickler(pickle._Unpickler):
    """Python's own interpreter of pickles with a check before each step that calls, makes or changes an object.

    What is called must be `allowed` itself, and what is changed an instance of a class that is.
    """

    stack: list[Any]
    metastack: list[list[Any]]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, data: bytes, storages: Storages, given: Mapping[str, Any]) -> None:
        super().__init__(BytesIO(data), encoding="utf-8")
        self.storages, self.given = storages, given
        self.known = {id(value) for value in given.values()}
        self.restored: dict[str, torch.TypedStorage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (full := full_name(module, name)) not in self.given:
            raise InvalidInput(f"asks for {full}")
        return self.given[full]

    def persistent_load(self, pid: Any) -> torch.TypedStorage:
        """A storage; several tensors may share it."""
        match pid:
            case ("storage", kind, str(key), str(location), int(count)):
                if key not in self.restored:
                    dtype = torch.uint8 if kind is torch.UntypedStorage else kind.dtype
                    data = self.storages(key)
                    if len(data) != count * dtype.itemsize:
                        raise InvalidInput(
                            f"says that storage {key} has {count} × {dtype}, and it has {len(data)} bytes"
                        )
                    storage = torch.serialization.default_restore_location(data.untyped_storage(), location)
                    self.restored[key] = torch.TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)
                return self.restored[key]
        raise InvalidInput("refers to something outside itself that is no storage")

    def check(self, target: Any) -> None:
        if id(target) not in self.known:
            raise InvalidInput(f"would call or change a {getattr(target, '__name__', type(target).__name__)}")


#: Steps that call what lies this deep on the stack, and those that change it (0: what lies below the last mark).
_CALLS = {pickle.REDUCE: 2, pickle.NEWOBJ: 2, pickle.NEWOBJ_EX: 3}
_CHANGES = {pickle.BUILD: 2, pickle.APPEND: 2, pickle.SETITEM: 3}
_CHANGES |= dict.fromkeys((pickle.APPENDS, pickle.SETITEMS, pickle.ADDITEMS), 0)
#: No pickle of torch's has these; they call without REDUCE, look up without a name, or reserve memory unseen.
_NEVER = (pickle.INST, pickle.OBJ, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.BYTEARRAY8)


def _checked(code: bytes, step: Callable[[Any], None]) -> Callable[[_Unpickler], None]:
    def checked(self: _Unpickler) -> None:
        if code in _CALLS:
            self.check(self.stack[-_CALLS[code]])
        elif code in _CHANGES:
            depth = _CHANGES[code]
            self.check(type(self.stack[-depth] if depth else self.metastack[-1][-1]))
        else:
            raise InvalidInput(f"uses pickle's step {code!r}, which no tensor needs")
        step(self)

    return checked


for code in (*_CALLS, *_CHANGES, *_NEVER):
    _Unpickler.dispatch[code[0]] = _checked(code, _Unpickler.dispatch[code[0]])
