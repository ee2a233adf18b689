"""Weights in files beside a model: looked at before they are followed, mapped, written anew."""

from __future__ import annotations

import ctypes
import mmap
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from convfold.errors import InvalidInput
from convfold.frontends.onnx import kept

#: Smaller tensors stay in the model.
SMALL = 1024


class Looked:
    """At one folder; a file of weights is looked at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sizes: dict[str, int] = {}

    def check(self, t: onnx.TensorProto) -> None:
        """
        Raises:
            InvalidInput: it lies outside the folder or behind a link, is no regular file, or shorter than claimed.
        """
        what = f"tensor {t.name!r}"
        told = {e.key: e.value for e in t.external_data}
        location = told.get("location", "")
        if not location:
            raise InvalidInput(f"{what} is said to lie in another file, and does not say in which")
        if location not in self.sizes:
            self.sizes[location] = self._size(location, what)
        size = self.sizes[location]
        need = -(-prod(t.dims) * ir.DataType(t.data_type).bitwidth // 8)
        offset, length = (_number(told.get(key), key, what) for key in ("offset", "length"))
        if length is not None and length != need:
            raise InvalidInput(f"{what} of sizes {list(t.dims)} needs {need} bytes and has {length}; it is damaged")
        if (offset or 0) + need > size:
            raise InvalidInput(
                f"{what} is said to be bytes {offset or 0} to {(offset or 0) + need} of {location}, which has {size}; "
                "it is damaged, or the weights are another model's"
            )

    def _size(self, location: str, what: str) -> int:
        """Every step of the way is asked what it is; none is followed."""
        parts = location.split("/")
        if parts[0] == ".":
            parts = parts[1:]
        if (
            os.path.isabs(location)
            or "\\" in location
            or "\0" in location
            or not all(parts)
            or {".", ".."} & set(parts)
        ):
            raise InvalidInput(
                f"{what} lies in {location!r}, which is not below the model's folder; put it there and name it so"
            )
        at = self.folder
        for i, part in enumerate(parts):
            at = at / part
            try:
                seen = at.lstat()
            except OSError as e:
                why = "is not there" if isinstance(e, FileNotFoundError | NotADirectoryError) else e.strerror
                raise InvalidInput(
                    f"{what} lies in {at}, which {why or 'cannot be read'}; put it beside the model"
                ) from e
            if stat.S_ISLNK(seen.st_mode):
                raise InvalidInput(f"{what} lies in {at}, which is a link; copy what it points to there instead")
            if i < len(parts) - 1:
                if not stat.S_ISDIR(seen.st_mode):
                    raise InvalidInput(f"{what} lies in {location!r}, and {at} is no folder")
                continue
            if not stat.S_ISREG(seen.st_mode):
                raise InvalidInput(f"{what} lies in {at}, which is no regular file")
            if seen.st_nlink > 1:
                raise InvalidInput(f"{what} lies in {at}, which has another name elsewhere (a hard link); copy it")
            if not os.access(at, os.R_OK):
                raise InvalidInput(f"{what} lies in {at}, which may not be read")
            return seen.st_size
        raise InvalidInput(f"{what} lies in {location!r}, which is a folder")


def _number(told: str | None, key: str, what: str) -> int | None:
    if told is None:
        return None
    if not (told.isascii() and told.isdigit() and len(told) < 20):
        raise InvalidInput(f"{what}: its {key} in another file is {told[:40]!r}, and no number")
    return int(told)


Held = tuple[Any, Callable[[Any], None]]


def held(model: ir.Model) -> Iterator[Held]:
    """Tensors, each with what puts another in its place."""
    for graph in kept.graphs(model):
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value, lambda t, value=value: setattr(value, "const_value", t)  # type: ignore[misc]
    nodes = [*model.graph.all_nodes(), *(n for f in model.functions.values() for n in f.all_nodes())]
    for node in nodes:
        for name, a in list(node.attributes.items()):
            if a.is_ref():
                continue
            if a.type == ir.AttributeType.TENSOR:
                yield a.value, lambda t, node=node, name=name: node.attributes.__setitem__(name, ir.AttrTensor(name, t))  # type: ignore[misc]
            elif a.type == ir.AttributeType.TENSORS:
                for i, t in enumerate(a.value):
                    yield t, lambda t, node=node, name=name, i=i: _at(node, name, i, t)  # type: ignore[misc]


def _at(node: ir.Node, name: str, i: int, tensor: Any) -> None:
    tensors = list(node.attributes[name].value)
    tensors[i] = tensor
    node.attributes[name] = ir.AttrTensors(name, tensors)


def settle(model: ir.Model, folder: Path) -> None:
    """Weights of a model just read lie in this folder."""
    for tensor, _ in held(model):
        if isinstance(tensor, ir.ExternalTensor):
            tensor.base_dir = os.path.abspath(folder)


def forget(model: ir.Model) -> None:
    """Weights that were read are let go of: they are in the file still, and read again where they are asked for."""
    mapped = [
        raw
        for graph in kept.graphs(model)
        for value in graph.initializers.values()
        if isinstance(raw := getattr(value.const_value, "raw", None), mmap.mmap) and hasattr(raw, "madvise")
    ]
    for raw in mapped:
        raw.madvise(mmap.MADV_DONTNEED)
    if mapped:
        _trim()


def _trim() -> None:
    """glibc keeps what was freed, in pieces too small for the next large tensor."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def inside(model: ir.Model) -> list[Callable[[], None]]:
    """Tensors of other files into memory; what undoes it."""
    undo: list[Callable[[], None]] = []
    for tensor, put in held(model):
        if isinstance(tensor, ir.ExternalTensor) and tensor.base_dir:
            undo.append(lambda put=put, tensor=tensor: put(tensor))  # type: ignore[misc]
            put(ir.tensor(tensor.numpy(), tensor.dtype, name=tensor.name))
    return undo


def move(tensors: Sequence[Held], folder: Path, name: str, shard: int | None) -> list[Callable[[], None]]:
    """Tensors, large ones, into files of this name; what undoes it. Small ones in other files come into the model."""
    undo: list[Callable[[], None]] = []
    large: dict[int, tuple[Any, list[Callable[[Any], None]]]] = {}
    for tensor, put in tensors:
        if tensor.dtype == ir.DataType.STRING:
            continue
        undo.append(lambda put=put, tensor=tensor: put(tensor))  # type: ignore[misc]
        if tensor.nbytes >= SMALL:
            large.setdefault(id(tensor), (tensor, []))[1].append(put)
        elif isinstance(tensor, ir.ExternalTensor):
            put(ir.tensor(tensor.numpy().copy(), tensor.dtype, name=tensor.name, doc_string=tensor.doc_string))
    groups = _groups([t for t, _ in large.values()], shard)
    for i, group in enumerate(groups, start=1):
        file = name if len(groups) == 1 else _numbered(name, i, len(groups))
        for old, new in zip(group, ir.external_data.convert_tensors_to_external(group, folder, file), strict=True):
            new.doc_string = old.doc_string
            new.metadata_props.update(old.metadata_props)
            for put in large[id(old)][1]:
                put(new)
    return undo


def _groups(tensors: Sequence[Any], shard: int | None) -> list[list[Any]]:
    groups: list[list[Any]] = []
    size = 0
    for t in tensors:
        if not groups or (shard is not None and size + t.nbytes > shard):
            groups.append([])
            size = 0
        groups[-1].append(t)
        size += t.nbytes
    return groups


def _numbered(name: str, i: int, n: int) -> str:
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}-{i:05d}-of-{n:05d}{dot}{suffix}"
