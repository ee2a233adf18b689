"""``python -m benchmarks.onnx_zoo [NAME...]``: fold, then export to ONNX; export, then fold: the same multiply-adds?

Every network of the zoo at its example's sizes, by ``objective="macs"``. The export is torch's, by ``torch.export`` and
by TorchScript, each as it writes it (nothing optimised by the latter); multiply-adds are counted in the ONNX files: as
the first was exported, as the others are folded. The claim: all three come to the same. What an exporter cannot write
is said in its place.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

import convfold
import zoo
from benchmarks.record import console, progress, record
from convfold.errors import ConvfoldError

HOW = convfold.FoldConfig("macs", verify=False)


def folded_first(case: zoo.Case, path: Path) -> None:
    result = convfold.fold(case.model, case.args, dict(case.kwargs), dynamic_shapes="static", config=HOW)
    result.save(path)


def by_export(case: zoo.Case, path: Path) -> None:
    program = torch.export.export(case.model, case.args, dict(case.kwargs), strict=False)
    written = torch.onnx.export(program, dynamo=True, verbose=False)
    assert written is not None
    written.save(path)


def by_torchscript(case: zoo.Case, path: Path) -> None:
    more = {"kwargs": dict(case.kwargs)} if case.kwargs else {}
    torch.onnx.export(case.model, case.args, str(path), dynamo=False, do_constant_folding=False, **more)  # type: ignore[arg-type]


WAYS: dict[str, Callable[[zoo.Case, Path], None]] = {
    "fold → export": folded_first,
    "torch.export → fold": by_export,
    "TorchScript → fold": by_torchscript,
}


def counted(case: zoo.Case, way: str, folder: Path) -> dict[str, Any]:
    """Multiply-adds and operators of the file, and of what folding it leaves."""
    path = folder / "model.onnx"
    said = StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            WAYS[way](case, path)
    except Exception as e:  # the exporters' own errors have no common base
        return {"failed": f"{type(e).__name__}: {' '.join(str(e).replace(f'{folder}/', '').split())[:120]}"}
    try:
        found = convfold.explain(path, config=HOW)
    except ConvfoldError as e:
        return {"failed": f"convfold: {e}"[:200]}
    return {
        "macs": [found.before.macs, found.after.macs],
        "ops": [found.before.ops, found.after.ops],
        "norms": [found.before.batch_norms, found.after.batch_norms],
    }


def main(names: list[str]) -> None:
    out = Table(box=None, pad_edge=False)
    for heading in ("", "M multiply-adds", "operators", *WAYS, "alike"):
        out.add_column(heading, justify="left" if not heading else "right", overflow="fold")
    broken = []
    for name in names or zoo.names():
        progress.print(f"{name} …")
        case = zoo.build(name)
        with tempfile.TemporaryDirectory() as folder:
            found = {way: counted(case, way, Path(folder)) for way in WAYS}
        macs = {row["macs"][way != "fold → export"] for way, row in found.items() if "macs" in row}
        if len(macs) > 1:
            broken.append(name)
        before = next((row for way, row in found.items() if way != "fold → export" and "macs" in row), None)
        cells = [
            f"{r['macs'][w != 'fold → export'] / 1e6:.1f}, {r['ops'][w != 'fold → export']}"
            if "macs" in r
            else r["failed"][:40]
            for w, r in found.items()
        ]
        first = [f"{before['macs'][0] / 1e6:.1f}", str(before["ops"][0])] if before else ["", ""]
        out.add_row(name, *first, *cells, "yes" if len(macs) == 1 else "NO")
        record("onnx_zoo", {name: found})
    console.print(out)
    console.print(f"not alike: {', '.join(broken) or 'none'}")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main(sys.argv[1:])
