"""``python -m benchmarks.operators``: writes docs/operators.md, what is read of torch's core ATen set and of ONNX.

From the registries, the lists of what is left, and the operators of the torch and the onnx in use.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import torch

from benchmarks.record import progress
from convfold.layers import ATEN, ONNX
from convfold.layers.left_aten import core_aten, why_left
from convfold.layers.left_onnx import LEFT

HERE = Path(__file__).resolve().parent.parent / "docs" / "operators.md"

#: Of several signals.
_JOINS = {"add.Tensor", "sub.Tensor", "rsub.Tensor", "Add", "Sub", "Concat", "Sum", "Mean"}

_HEAD = """# Operators

What convfold reads, and why it leaves the rest. Written by `python -m benchmarks.operators` from the registry, the
operators of torch {torch} and those of onnx {onnx}; a test fails where it is out of date, or an operator on no list.

*affine*: a linear map of its signal and a constant. *affine with constants*: so where its other inputs are constant.

## torch: the core ATen set

Exported programs hold composite operators too; those that are read are listed behind.

| operator | is | read |
|---|---|---|
{core}

Read beside them: {more}.

## ONNX: the standard domain

| operator | is | read |
|---|---|---|
{standard}
"""


def text() -> str:
    core = core_aten()
    rows = [_row(name, _aten_kind(name), f"aten.{name}" in ATEN, why_left(name)) for name in core]
    more = ", ".join(f"`{name[5:]}`" for name in sorted(ATEN) if name[5:] not in core)
    names = sorted({s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == "" and not s.deprecated})
    standard = [_row(name, _onnx_kind(name), name in ONNX, LEFT.get(name)) for name in names]
    return _HEAD.format(
        torch=torch.__version__.partition("+")[0],
        onnx=onnx.__version__,
        core="\n".join(rows),
        more=more,
        standard="\n".join(standard),
    )


def _row(name: str, kind: str, read: bool, why: str | None) -> str:
    if read:
        return f"| `{name}` | {kind} | yes |"
    assert why is not None, f"{name} is on no list"
    if why.startswith("not affine: "):
        return f"| `{name}` | not affine | {why[12:]} |"
    head, _, tail = why.partition(", but ")
    if tail:
        return f"| `{name}` | {head} | {tail} |"
    return f"| `{name}` | | {why} |"


def _aten_kind(name: str) -> str:
    if f"aten.{name}" not in ATEN or name in _JOINS:
        return "affine"
    packet, _, overload = name.partition(".")
    schema = getattr(getattr(torch.ops.aten, packet), overload)._schema
    tensors = [a for a in schema.arguments if "Tensor" in str(a.type) and "List" not in str(a.type)]
    return "affine with constants" if len(tensors) > 1 else "affine"


def _onnx_kind(name: str) -> str:
    if name in _JOINS or name not in ONNX:
        return "affine"
    schema = onnx.defs.get_schema(name)
    floats = [x for x in schema.inputs[1:] if x.type_str == schema.inputs[0].type_str]
    return "affine with constants" if floats else "affine"


def main() -> None:
    HERE.write_text(text(), encoding="utf-8")
    progress.print(f"written: {HERE.relative_to(HERE.parent.parent)}")


if __name__ == "__main__":
    main()
