"""``python -m benchmarks.runtimes [--models NAME...] [--resume]``: what a fold saves in each runtime, in one run.

Networks of the zoo in PyTorch eager, inductor, ONNX Runtime and OpenVINO, at batches of 1 and 8: the original and the
folded model in turn, in a process a case. A row says the medians, and original/folded: the median of the rounds' ratios
with the interval that holds it with a confidence of 95 % (order statistics). For the runtimes that read ONNX the
original is exported by ``torch.onnx.export``, and folded is what `convfold.fold` makes of that file; beside it,
"exported", what the same exporter makes of the folded module. A model may also be a file with one input, as in
``det.onnx:1,3,640,640``; `pp-ocrv4-like-detector` is not PaddleOCR's file but a network like it, exported.

``--beside macs measured`` plans by these, too, and times them in the same rounds: theirs/folded, above 1 where the plan
by the shipped target is faster.

Every case is recorded as it is done; ``--resume`` measures only what is not on record. The claims: no case below 0.98,
those in `FLOORS`, and those in `BESIDE`. One is missed where even the upper end of its interval is below it, in two
processes together; cases of which only the median is are named too. Exits with 1 where a claim is missed, or a model
cannot be folded, exported or run. All of it takes hours.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import onnx
import torch
from rich.table import Table
from torch.utils import _pytree as pytree

import convfold
import zoo
from benchmarks.record import FOLDER, console, progress, record
from benchmarks.timing import Measure, interleaved, interval, medians, ratios, repeats, wall
from convfold.config import OBJECTIVES
from convfold.runtimes import RUNTIMES, Call, runtime
from convfold.runtimes.exported import onnx_model

NETWORKS = (
    "segformer-b0", "upernet-convnext-tiny", "dpt", "edsr-baseline-x4", "sesr-m5-x2", "unet", "densenet-121",
    "ghostnetv3", "repvgg-a0", "mobileone-s0", "pp-lcnet-v3", "textnet", "repvit-m0.9", "resnet-18", "mobilenet-v2",
    "convnext-tiny", "vit-small", "swin-tiny", "yolo-small", "pp-ocrv4-like-detector", "csrnet", "fsrcnn-x3", "gcn-50",
    "dcgan-generator", "infogan-generator",
)  # fmt: skip
BATCHES = (1, 8)
#: Those that read ONNX files.
OF_FILES = ("onnxruntime", "openvino")

#: Original over folded is at least so much, in these runtimes; in all others at least `FLOOR`.
FLOORS: Mapping[str, tuple[float, Sequence[str]]] = {
    "segformer-b0": (2.0, tuple(RUNTIMES)),
    "edsr-baseline-x4": (1.7, OF_FILES),
    "ghostnetv3": (1.85, tuple(RUNTIMES)),
    "upernet-convnext-tiny": (1.5, tuple(RUNTIMES)),
    "sesr-m5-x2": (6.0, tuple(RUNTIMES)),
}
FLOOR = 0.98
#: A plan by the shipped target is as fast as one by another objective, but for so much, in this share of the cases.
BESIDE: Mapping[str, tuple[float, float]] = {"macs": (0.98, 1.0), "measured": (0.95, 0.9)}
#: ‖folded − original‖ / ‖original‖ in float32 and in the runtime's own arithmetic: more is another function.
DIFFERS = 1e-3
ROUNDS, LONGEST = 201, 3600
#: Seconds that "measured" may take.
BUDGET = 30.0


@dataclass(frozen=True)
class Asked:
    """One case, and how it is measured."""

    network: str
    runtime: str
    batch: int
    objective: str
    threads: int
    seconds: float
    exported: bool
    beside: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return Path(self.network.partition(":")[0]).name if _is_file(self.network) else self.network

    @property
    def key(self) -> str:
        """What it is recorded by."""
        other = [self.objective] * (self.objective != "time") + [f"{self.threads} threads"] * (self.threads != 1)
        other += [f"beside {' and '.join(self.beside)}"] * bool(self.beside)
        return ", ".join([self.name, self.runtime, f"batch {self.batch}", *other])

    @property
    def floor(self) -> float:
        least, where = FLOORS.get(self.network, (FLOOR, ()))
        return least if self.runtime in where else FLOOR


def _is_file(network: str) -> bool:
    return network.partition(":")[0].endswith(".onnx")


class Failed(Exception):
    """At which stage, and what was said."""


@contextmanager
def stage(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as e:  # exporters, compilers and runtimes have no common base
        line = (str(e).strip().splitlines() or [""])[0]
        raise Failed(f"{name}: {type(e).__name__}: {line[:200]}") from e


# --- one case, in a process of its own ---


def measured(asked: Asked) -> dict[str, Any]:
    """Every figure of a case, or at which stage it failed."""
    torch.set_num_threads(asked.threads)
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _measured(asked, Path(folder))
    except Failed as e:
        return {"failed": str(e)}


def _measured(asked: Asked, folder: Path) -> dict[str, Any]:
    run = runtime(asked.runtime)
    with stage("original"):
        model, args, kwargs = _opened(asked)
        original = exported(model, args, kwargs, folder / "model.onnx") if asked.runtime in OF_FILES else model
        calls = {"original": run.ready(original, args, kwargs, asked.threads)}
        outputs = {"original": _numbers(calls["original"]())}
    start = perf_counter()
    with stage("fold"):
        report, folded = _folded(asked, original, args, kwargs, folder / "folded.onnx")
    seconds = perf_counter() - start
    same = isinstance(original, Path) and is_same(original, folded)
    with stage("folded"):
        if not same:
            calls["folded"] = run.ready(folded, args, kwargs, asked.threads)
            outputs["folded"] = _numbers(calls["folded"]())
    found: dict[str, Any] = {}
    if asked.exported and isinstance(original, Path) and not isinstance(model, Path):
        try:
            with stage("exported"):
                module = _folded(asked, model, args, kwargs)[1]
                again = exported(module, args, kwargs, folder / "exported.onnx")
                call = run.ready(again, args, kwargs, asked.threads)
                outputs["exported"] = _numbers(call())
                calls["exported"] = call
        except Failed as e:
            found["exported"] = str(e)
    as_folded = []
    for objective in asked.beside:
        with stage(objective):
            planned = replace(asked, objective=objective)
            _, other = _folded(planned, original, args, kwargs, folder / f"{objective}.onnx")
            if is_same(other, folded):
                as_folded.append(by(objective))
                continue
            calls[by(objective)] = run.ready(other, args, kwargs, asked.threads)
            outputs[by(objective)] = _numbers(calls[by(objective)]())
    with stage("timing"), torch.inference_mode():
        gc.collect()
        gc.freeze()  # what is here stays: each round's collection is short
        times = interleaved({which: warm(call) for which, call in calls.items()}, ROUNDS, seconds=asked.seconds)
        gc.unfreeze()
    if same:
        times["folded"] = times["original"]
    times |= dict.fromkeys(as_folded, times["folded"])
    before, after = report.before, report.after
    return {
        **found,
        "ratios": {which: ratios(times, "original", which) for which in times if which != "original"},
        "beside": {objective: ratios(times, by(objective), "folded") for objective in asked.beside},
        "seconds": medians(times),
        "same": same,
        "macs": [before.macs, after.macs],
        "ops": [before.ops, after.ops],
        "fold_seconds": seconds,
        "differs": {which: _apart(y, outputs["original"]) for which, y in outputs.items() if which != "original"},
        "versions": run.versions(),
    }


def by(objective: str) -> str:
    """What a model planned by it is called among others."""
    return f"by {objective}"


def warm(call: Call) -> Measure:
    """A call that counts follows one of the same model; where it takes long, what others left in caches is little."""
    n = repeats(call)
    measure = wall(call, n)
    if n == 1:
        return measure

    def behind_another() -> float:
        call()
        return measure()

    return behind_another


def _opened(asked: Asked) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """A module or a path, and what it is called with: normal numbers, as many images as asked."""
    generator = torch.Generator().manual_seed(1)
    if _is_file(asked.network):
        path, _, shape = asked.network.partition(":")
        return Path(path), (torch.randn(asked.batch, *map(int, shape.split(",")[1:]), generator=generator),), {}
    case = zoo.build(asked.network)
    args = tuple(torch.randn(asked.batch, *x.shape[1:], generator=generator) for x in case.args)
    return case.model, args, dict(case.kwargs)


def exported(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], path: Path) -> Path:
    """The file itself where it is one."""
    if isinstance(model, Path):
        return model
    onnx.save(onnx_model(model, args, kwargs), path)
    return path


def _folded(
    asked: Asked, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], path: Path | None = None
) -> tuple[convfold.Report, Any]:
    """The report, and the folded module, or of a file the path it was written to."""
    known = {field.name for field in fields(convfold.FoldConfig)}
    more: dict[str, Any] = {"target": asked.runtime} if "target" in known else {}
    config = convfold.FoldConfig(asked.objective, verify=False, budget=BUDGET, **more)
    if not isinstance(model, Path):
        result = convfold.fold(model, args, kwargs, config=config)
        return result.report, result.module
    result = convfold.fold(model, [tuple(x.shape) for x in args], config=config)
    result.save(path)
    return result.report, path


def is_same(a: Any, b: Any) -> bool:
    """Two files, byte for byte, or two modules, call for call and weight for weight."""
    if isinstance(a, Path):
        return a.read_bytes() == b.read_bytes()
    x, y = a.state_dict(), b.state_dict()
    return a.code == b.code and x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)


def _numbers(outputs: Any) -> list[np.ndarray[Any, Any]]:
    """Copies of the outputs, whichever runtime's."""
    values = list(outputs.values()) if isinstance(outputs, Mapping) else outputs
    return [np.array(y, dtype=np.float64) for y in pytree.tree_leaves(values)]


def _apart(got: list[np.ndarray[Any, Any]], expected: list[np.ndarray[Any, Any]]) -> float:
    pairs = zip(got, expected, strict=True)
    return max(float(np.linalg.norm(y - x)) / max(float(np.linalg.norm(x)), 1e-30) for y, x in pairs)


# --- all of them ---


def in_a_process(asked: Asked) -> dict[str, Any]:
    words = [sys.executable, "-W", "ignore", "-m", "benchmarks.runtimes", "--one", json.dumps(vars(asked))]
    env = {**os.environ, "OMP_NUM_THREADS": str(asked.threads)}
    try:
        done = subprocess.run(words, capture_output=True, text=True, env=env, timeout=LONGEST, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"process: more than {LONGEST} s"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return {"failed": f"process: exit {done.returncode}: {last[:200]}"}
    for line in reversed(done.stdout.splitlines()):  # runtimes may print as they end
        if line.startswith("{"):
            return dict(json.loads(line))
    return {"failed": "process: it said nothing"}


def figures(asked: Asked) -> dict[str, Any]:
    """What is recorded of a case; one below its floor is measured once more, and the rounds of both are counted.

    Where its weights happen to lie makes a model some per cent slower or faster for as long as a process runs.
    """
    found = in_a_process(asked)
    if "failed" in found:
        return found
    processes = 1
    beside = [_judged(values)[2] < BESIDE[which][0] for which, values in found.get("beside", {}).items()]
    if _judged(found["ratios"]["folded"])[2] < asked.floor or any(beside):
        again = in_a_process(asked)
        processes += 1
        for kind in ("ratios", "beside"):
            for which, more in again.get(kind, {}).items():
                found[kind][which] = found[kind].get(which, []) + more
    of_rounds, beside = found.pop("ratios"), found.pop("beside", {})
    judged: dict[str, Any] = {which: _judged(values) for which, values in of_rounds.items()}
    if beside:
        judged["beside"] = {which: _judged(values) for which, values in beside.items()}
    return {**found, **judged, "rounds": len(of_rounds["folded"]), "processes": processes}


def _judged(values: list[float]) -> list[float]:
    return [median(values), *interval(values)]


def missed(asked: Asked, found: dict[str, Any]) -> list[str]:
    """What is claimed and not so."""
    if "failed" in found:
        return [found["failed"]]
    _, _, high = found["folded"]
    out = [f"below {asked.floor}"] if high < asked.floor else []
    if max(found["differs"].values(), default=0.0) > DIFFERS:
        out.append("another function")
    if isinstance(found.get("exported"), str):
        out.append(found["exported"])
    return out


def row(asked: Asked, found: dict[str, Any]) -> list[str]:
    wrong = "; ".join(missed(asked, found))
    head = [asked.name, asked.runtime, str(asked.batch)]
    if "failed" in found:
        return [*head, *[""] * (5 + len(asked.beside)), wrong]
    m0, m1 = found.get("macs", (0, 0))  # older records of several plans have none
    seconds = found["seconds"]
    exported = found.get("exported", "")
    return [
        *head,
        f"{m0 / 1e6:.1f} → {m1 / 1e6:.1f}",
        f"{1e3 * seconds['original']:.2f}",
        f"{1e3 * seconds['folded']:.2f}",
        "same file" if found["same"] else _said(found["folded"]),
        _said(exported) if isinstance(exported, list) else "",
        *(_said(found["beside"][which]) for which in asked.beside),
        wrong,
    ]


def _said(ratio_and_interval: list[float]) -> str:
    middle, low, high = ratio_and_interval
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"


def summary(cases: Mapping[Asked, dict[str, Any]]) -> int:
    """The table and the claims missed; 1 where there are any."""
    beside = next((asked.beside for asked in cases), ())
    table = Table(box=None, pad_edge=False)
    for heading in (
        "network", "runtime", "batch", "M multiply-adds", "original ms", "folded ms", "original/folded", "exported",
        *(f"{which}/folded" for which in beside), "missed",
    ):  # fmt: skip
        table.add_column(heading, justify="left" if heading in ("network", "runtime", "missed") else "right")
    for asked, found in cases.items():
        table.add_row(*row(asked, found))
    console.print(table)
    wrong = {asked: said for asked, found in cases.items() if (said := missed(asked, found))}
    console.print(f"missed: {len(wrong)} of {len(cases)}")
    for asked, said in wrong.items():
        console.print(f"  {asked.key}: {'; '.join(said)}")
    console.print("below in the median only:")
    for asked, found in cases.items():
        if "failed" not in found and found["folded"][0] < asked.floor <= found["folded"][2]:
            console.print(f"  {asked.key}: {_said(found['folded'])}, claimed {asked.floor}")
    for which in beside:
        least, share = BESIDE[which]
        judged = {asked: found["beside"][which] for asked, found in cases.items() if "beside" in found}
        behind = {asked: said for asked, said in judged.items() if said[2] < least}
        console.print(f"{which}/folded: {len(judged) - len(behind)} of {len(judged)} at {least} or more")
        for asked, said in behind.items():
            console.print(f"  {asked.key}: {_said(said)}")
        if len(behind) > (1 - share) * len(judged):
            wrong = wrong or {asked: [which] for asked in behind}
    return int(bool(wrong))


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=NETWORKS, metavar="NAME", help="of the zoo, or FILE.onnx:SHAPE")
    parser.add_argument("--runtimes", nargs="+", default=tuple(RUNTIMES), choices=tuple(RUNTIMES))
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parser.add_argument("--objective", choices=OBJECTIVES, default="time")
    parser.add_argument("--beside", nargs="*", choices=tuple(BESIDE), default=(), help="plan by these, too")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0, help="to time a case in, if 7 rounds do not take longer")
    parser.add_argument("--exported", action=argparse.BooleanOptionalAction, default=True, help="time that too")
    parser.add_argument("--resume", action="store_true", help="measure only what is not on record")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.one:
        warnings.simplefilter("ignore")
        one = json.loads(options.one)
        print("\n" + json.dumps(measured(Asked(**{**one, "beside": tuple(one["beside"])}))))
        return 0
    torch.set_num_threads(options.threads)  # what is recorded of the environment
    path = FOLDER / "runtimes.json"
    known = json.loads(path.read_text()) if options.resume and path.exists() else {}
    how = (options.objective, options.threads, options.seconds, options.exported, tuple(options.beside))
    cases: dict[Asked, dict[str, Any]] = {}
    for network in options.models:
        for batch in options.batches:
            for name in options.runtimes:
                if _is_file(network) and name not in OF_FILES:
                    continue
                asked = Asked(network, name, batch, *how)
                found = known.get(asked.key, {"failed": ""})
                if "failed" in found:
                    progress.print(f"{asked.key} …")
                    found = figures(asked)
                    record("runtimes", {asked.key: found})
                cases[asked] = found
    return summary(cases)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
