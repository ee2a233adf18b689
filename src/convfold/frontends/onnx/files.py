"""ONNX files, read without running or following anything, and written: weights beside the file stay beside it."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError, EncodeError

from convfold.errors import InvalidInput
from convfold.frontends.onnx import beside, kept
from convfold.frontends.onnx.check import check
from convfold.frontends.onnx.protos import tensors as tensors_of
from convfold.frontends.onnx.sparse import Sparse

#: What one protobuf can hold.
LIMIT = (1 << 31) - 1

#: Weights of more go into files of their own: there is more than weights in a model.
INSIDE = LIMIT - (1 << 26)


def load(path: Path, *, declared: bool = True) -> ir.Model:
    """``declared``: see `kept.deserialized`.

    Raises:
        InvalidInput: there is no such file, it is no model, or its weights lie elsewhere.
    """
    data = _read(path)
    digest = zlib.crc32(data)

    def again() -> bytes | None:
        try:
            found = _read(path)
        except InvalidInput:
            return None
        return found if zlib.crc32(found) == digest else None

    return _loaded(data, str(path), path.parent, again, declared)


def load_bytes(data: bytes, folder: Path | None = None) -> ir.Model:
    """``folder``: where weights that are not inside may be.

    Raises:
        InvalidInput: it is no model, or its weights lie elsewhere.
    """
    return _loaded(data, "the model", folder, lambda: data)


def taken(proto: onnx.ModelProto, *, declared: bool = True) -> ir.Model:
    """A copy of what is in memory already; as `load_bytes`."""
    own = onnx.ModelProto()
    own.CopyFrom(proto)
    return _checked(own, "the model", None, lambda: proto.SerializeToString(deterministic=True), declared)


def _read(path: Path) -> bytes:
    """A regular file's content; a pipe would be waited for."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidInput(f"{path}: no such file") from None
    except (OSError, ValueError) as e:  # a name no file can have is a ValueError
        raise InvalidInput(f"{path}: cannot be read: {getattr(e, 'strerror', None) or e}") from e
    try:
        with os.fdopen(handle, "rb") as file:
            seen = os.fstat(file.fileno())
            if not stat.S_ISREG(seen.st_mode):
                raise InvalidInput(f"{path}: is no regular file; copy what it gives to one first")
            if seen.st_size > LIMIT:
                raise InvalidInput(f"{path}: is no ONNX model: larger than 2 GB, as no protobuf is")
            return file.read(seen.st_size)
    except IsADirectoryError:
        raise InvalidInput(f"{path}: is a directory; give an .onnx file") from None
    except OSError as e:
        raise InvalidInput(f"{path}: cannot be read: {e.strerror or e}") from e


def _loaded(
    data: bytes, where: str, folder: Path | None, original: Callable[[], bytes | None], declared: bool = True
) -> ir.Model:
    if not data:
        raise InvalidInput(f"{where}: is empty")
    try:
        proto = onnx.ModelProto.FromString(data)
    except DecodeError as e:
        raise InvalidInput(f"{where}: is no ONNX model, or damaged or cut short: no protobuf of one") from e
    return _checked(proto, where, folder, original, declared)


def _checked(
    proto: onnx.ModelProto, where: str, folder: Path | None, original: Callable[[], bytes | None], declared: bool
) -> ir.Model:
    try:
        seen = check(proto)
        looked = None if folder is None else beside.Looked(folder)
        outside = [t for s in seen for t in s.outside]
        for t in outside:
            if looked is None:
                raise InvalidInput(f"tensor {t.name!r} lies in another file; give the model's path instead")
            looked.check(t)
        inner, sparse = any(s.inner for s in seen), any(s.sparse for s in seen)
        model = kept.deserialized(proto, inner=inner, sparse=sparse, declared=declared)
    except InvalidInput as e:
        raise InvalidInput(f"{where}: {e}") from None
    except (ir.serde.SerdeError, NotImplementedError, ValueError) as e:
        raise InvalidInput(f"{where}: cannot be read as a model: {_words(e)}") from e
    if folder is not None and outside:
        beside.settle(model, folder)
    kept.of(model).original, kept.of(model).beside = original, bool(outside)
    graphs = [model.graph, *(f.graph for f in model.functions.values())]
    for s, graph in zip(seen, graphs, strict=True):
        if s.unsorted:  # as some tools leave them
            graph.sort()
    return model


def _words(e: BaseException) -> str:
    while e.__cause__ is not None:
        e = e.__cause__
    return " ".join(str(e).split())[:300] or type(e).__name__


def write(model: ir.Model, path: Path, *, changed: bool = True, shard: int | None = None) -> None:
    """Into a folder where nothing else is: the model, and where it is too large, or was so, weights beside it.

    A model that did not change is written as the bytes that it was read from.

    Args:
        shard: Bytes of weights in one file; a larger tensor has one of its own.

    Raises:
        InvalidInput: more than 2 GB of it are no weights.
    """
    original = None if changed else kept.of(model).original()
    if original is not None:
        return _write_again(original, model, path, shard)
    tensors = [(t, put) for t, put in beside.held(model) if not isinstance(t, Sparse)]
    undo: list[Callable[[], None]] = []
    if shard is not None or kept.of(model).beside or _is_large(tensors):
        undo = beside.move(tensors, path.parent, f"{path.name}.data", shard)
    try:
        path.write_bytes(_bytes(kept.serialized(model), path))
    finally:
        for back in undo:
            back()


def _is_large(tensors: list[beside.Held]) -> bool:
    return (
        any(isinstance(t, ir.ExternalTensor) for t, _ in tensors)
        or sum(t.nbytes for t, _ in tensors if t.dtype != ir.DataType.STRING) > INSIDE
    )


def _write_again(original: bytes, model: ir.Model, path: Path, shard: int | None) -> None:
    """The same bytes; where there are weights beside them, those too, under the new name."""
    proto = onnx.ModelProto.FromString(original)
    outside = [t for t in tensors_of(proto) if t.data_location == onnx.TensorProto.EXTERNAL]
    if not outside:
        path.write_bytes(original)
        return
    folder = next(t.base_dir for t, _ in beside.held(model) if isinstance(t, ir.ExternalTensor))
    tensors = [ir.serde.deserialize_tensor(t, folder) for t in outside]
    beside.move(
        [(t, _putting(p)) for t, p in zip(tensors, outside, strict=True)], path.parent, f"{path.name}.data", shard
    )
    path.write_bytes(_bytes(proto, path))


def _putting(proto: onnx.TensorProto) -> Callable[[object], None]:
    """The name and the types stay; where its numbers are does not."""

    def put(tensor: object) -> None:
        new = ir.serde.serialize_tensor(tensor)  # type: ignore[arg-type]
        proto.ClearField("external_data")
        proto.external_data.extend(new.external_data)
        if new.data_location != onnx.TensorProto.EXTERNAL:
            proto.ClearField("data_location")
            proto.raw_data = new.raw_data

    return put


def _bytes(proto: onnx.ModelProto, path: Path) -> bytes:
    try:
        data: bytes = proto.SerializeToString(deterministic=True)
        return data
    except (EncodeError, ValueError) as e:
        raise InvalidInput(f"{path}: cannot be written: {_words(e)}") from e
