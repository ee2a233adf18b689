"""``python -m benchmarks.plans [NAME...]``: the same input gives the same plan, whatever else the machine does.

Every network of the zoo is folded in two processes, one of them beside two busy loops, under each objective that
measures nothing. Their figures and the calls of the folded graphs must be the same, and the figures those recorded
before; ``--overwrite`` records them anew. Exits with 1 where anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.table import Table

import convfold
import zoo
from benchmarks.record import FOLDER, console, progress, record

OBJECTIVES = ("time", "macs")


def plan(name: str, objective: str) -> dict[str, Any]:
    """Multiply-adds and operations before and after, and a digest of the folded graph's calls."""
    case = zoo.build(name)
    config = convfold.FoldConfig(objective, verify=False)
    result = convfold.fold(case.model, case.args, dict(case.kwargs), config=config)
    before, after = result.report.before, result.report.after
    return {
        "macs": [before.macs, after.macs],
        "ops": [before.ops, after.ops],
        "calls": hashlib.sha256(result.module.code.encode()).hexdigest()[:16],
    }


def in_a_process(name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.plans", "--one", name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def result_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args!r} failed")
    return dict(json.loads(output))


def _spin() -> None:
    while True:
        pass


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """Beside so many processes that do nothing but compute."""
    running = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(loops)]
    for process in running:
        process.start()
    try:
        yield
    finally:
        for process in running:
            process.kill()


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of the zoo; all if none is given")
    parser.add_argument("--overwrite", action="store_true", help="record the figures instead of comparing with them")
    parser.add_argument("--one", metavar="NAME", help="plan one network in this process, print JSON")
    options = parser.parse_args(argv)
    if options.one:
        print(json.dumps({objective: plan(options.one, objective) for objective in OBJECTIVES}))
        return 0
    path = FOLDER / "plans.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    table = Table("model", "objective", "M multiply-adds", "operations", "differs", box=None, pad_edge=False)
    wrong = 0
    for name in options.names or zoo.names():
        progress.print(f"{name} …")
        alone = result_of(in_a_process(name))
        with busy(2):
            beside = result_of(in_a_process(name))
        for objective, found in alone.items():
            differs = [] if found == beside[objective] else ["beside two busy loops"]
            recorded = known.get(name, {}).get(objective, found)
            if not options.overwrite and any(recorded[key] != found[key] for key in ("macs", "ops")):
                differs.append(f"recorded: {recorded['macs'][1]} in {recorded['ops'][1]} operations")
            (m0, m1), (o0, o1) = found["macs"], found["ops"]
            table.add_row(name, objective, f"{m0 / 1e6:.2f} → {m1 / 1e6:.2f}", f"{o0} → {o1}", "; ".join(differs))
            wrong += len(differs)
        if options.overwrite or name not in known:
            record("plans", {name: alone})
    console.print(table)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
