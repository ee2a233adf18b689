"""Which program do the members of an archive make?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch._export.serde import schema
from torch._export.serde.serialize import (
    ExportedProgramDeserializer,
    _dict_to_dataclass,
    deserialize_device,
    deserialize_scalar_type,
    deserialize_size,
    deserialize_storage_offset,
    deserialize_stride,
)
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from convfold.errors import InvalidInput
from convfold.frontends.torch.members import AGAIN, Archive
from convfold.frontends.torch.schema import check


@dataclass(frozen=True)
class _Layout:
    """The members in which a version of torch keeps the parts of a program."""

    program: str
    weights: str
    constants: str
    inputs: str


_NOW = _Layout("models/model.json", *(f"data/{part}/model.pt" for part in ("weights", "constants", "sample_inputs")))
_UNTIL_2_7 = _Layout(
    "serialized_exported_program.json",
    *(f"serialized_{part}.pt" for part in ("state_dict", "constants", "example_inputs")),
)


def program(archive: Archive) -> ExportedProgram:
    """The program torch keeps in these members, which hold no code.

    Raises:
        InvalidInput: there is none, it says what no program says, or it needs objects that are no tensors.
    """
    if compiled := next((name for name in archive.members if name.startswith("data/aotinductor/")), None):
        raise InvalidInput(f"member {compiled} is compiled code, which is not loaded; save the program without it")
    layout = next((at for at in (_NOW, _UNTIL_2_7) if at.program in archive.members), None)
    if layout is None:
        raise InvalidInput("not a .pt2 file torch can load: no program inside; save one with torch.export.save")
    said = _said(archive, layout.program, schema.ExportedProgram)
    weights, constants = _tensors(archive, layout.weights), _tensors(archive, layout.constants)
    return ExportedProgramDeserializer().deserialize(said, weights, constants, _example(archive, layout.inputs))


def _said(archive: Archive, name: str, kind: type) -> Any:
    """A member of JSON, as the dataclass of torch's schema it must be."""
    said = json.loads(archive.read(name), object_hook=_essential)
    try:
        check(kind, said)
    except InvalidInput as e:
        raise InvalidInput(f"member {name} {e}") from e
    return _dict_to_dataclass(kind, said)


def _essential(said: dict[str, Any]) -> dict[str, Any]:
    """Without what only helps to debug, and without guards, which are Python: we refuse sizes by a check of our own."""
    if "metadata" in said and "target" in said:
        said["metadata"] = {k: v for k, v in said["metadata"].items() if k == "nn_module_stack"}
    return {k: v for k, v in said.items() if k != "guards_code"}


def _tensors(archive: Archive, name: str) -> dict[str, Tensor]:
    """Weights or constants by name; those that share memory in the file share it again."""
    if name in archive.members:  # torch ≤ 2.8: all in one pickle
        found = archive.archive(name).unpickled() if archive.members[name].file_size else {}
    else:
        folder = name.rpartition("/")[0]
        config = _said(archive, f"{folder}/model_{folder.rpartition('/')[2]}_config.json", schema.PayloadConfig).config
        flat: dict[tuple[Any, ...], Tensor] = {}
        found = {path: _tensor(archive, f"{folder}/{meta.path_name}", meta, flat) for path, meta in config.items()}
    for path, tensor in found.items():
        if not isinstance(tensor, Tensor):
            raise InvalidInput(f"{path!r} is a {type(tensor).__name__}, not a tensor; export the program without it")
    return found


def _tensor(archive: Archive, member: str, meta: schema.PayloadMeta, flat: dict[tuple[Any, ...], Tensor]) -> Any:
    if meta.use_pickle:
        return archive.archive(member).unpickled()
    like = meta.tensor_meta
    if like is None:
        raise InvalidInput(f"member {member} is a tensor of no size; {AGAIN}")
    size, dtype = deserialize_size(like.sizes), deserialize_scalar_type(like.dtype)
    stride, offset = deserialize_stride(like.strides), deserialize_storage_offset(like.storage_offset)
    key = member, dtype, deserialize_device(like.device)
    try:
        if key not in flat:
            flat[key] = archive.tensor(member).view(dtype).to(key[-1])
        tensor = flat[key].as_strided(size, stride, offset)
    except RuntimeError as e:  # too few bytes, or a device that is not here
        raise InvalidInput(f"member {member} gives no {dtype} of size {size}: {str(e).partition(chr(10))[0]}") from e
    return nn.Parameter(tensor, like.requires_grad) if meta.is_param else tensor.requires_grad_(like.requires_grad)


def _example(archive: Archive, name: str) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    if not archive.read(name):
        return None
    match example := archive.archive(name).unpickled():
        case (tuple(), dict()):
            pytree.tree_leaves(example)
            return example  # type: ignore[no-any-return]
    raise InvalidInput(f"member {name} is not a tuple of inputs and a dictionary of those given by name")
