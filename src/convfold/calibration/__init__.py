"""A target made: calls of every kind timed in a runtime on this machine, and prices fitted to them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import torch

from convfold.atomic import refuse_unwritable, replacing
from convfold.bench.machine import Machine
from convfold.calibration.samples import KINDS, Sample, drawn
from convfold.calibration.timed import timed_alone, works
from convfold.errors import InvalidInput
from convfold.runtimes import Runtime, runtime
from convfold.targets.target import Target
from convfold.targets.terms import terms

#: Calls of each kind that are timed; of those that most time goes into, more.
COUNT = 16
MORE = {"dense": 32, "pointwise": 32, "depthwise": 24, "grouped": 24, "transposed": 24, "product": 24, "copy": 24}

#: Seconds after which no more are timed, and how many of each kind are all the same.
SECONDS, FEWEST = 100.0, 5

Progress = Callable[[str], None]


def calibrate(
    name: str,
    path: Path,
    *,
    threads: int = 1,
    device: str = "cpu",
    seconds: float = SECONDS,
    progress: Progress = lambda stage: None,
) -> Target:
    """Time the calls, fit the prices, and write the target; what was timed before an interruption is kept beside it.

    Args:
        name: of the runtime: see `runtimes.RUNTIMES`.
        path: a .json file, replaced as a whole when all is done.
        device: where PyTorch's runtimes compute, as it names devices: "cuda".
        seconds: after which no more calls are timed than five of each kind; all take less, but where each is compiled.
        progress: called with what is timed, and how many of how many rounds are done.

    Raises:
        InvalidInput: there is no such runtime, or it is not installed; or no such device.
    """
    if missing := [package for package in ("onnx", "scipy") if find_spec(package) is None]:
        raise InvalidInput(f"calibrating needs {missing[0]}: pip install 'convfold[calibrate]'")
    from convfold.calibration.fit import fitted

    it = runtime(name, device)
    versions = it.versions()
    if path.suffix != ".json":
        raise InvalidInput(f"{path}: a target is a .json file")
    refuse_unwritable(path)
    where = _where(it)
    about = {"runtime": name, "device": device, "threads": threads, "machine": where, "versions": versions}
    measured = _Kept(path.with_name(f"{path.name}.part"), about)
    end = perf_counter() + seconds
    nothing = measured.get("floor", lambda: floor(it, threads))
    samples = {kind: list(drawn(kind, MORE.get(kind, COUNT), 0)) for kind in KINDS}
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for i in range(rounds := max(map(len, samples.values()))):
        if i >= FEWEST and perf_counter() > end:
            break
        progress(f"timing calls, round {i + 1} of {rounds}")
        for kind, of in samples.items():
            for sample in of[i : i + 1]:
                times[kind].append(measured.get(str(sample), partial(timed_alone, sample, it, threads)))
    prices, errors = {}, {}
    for kind, took in times.items():
        own, errors[kind] = fitted([counted(sample, it) for sample in samples[kind][: len(took)]], took)
        prices[kind] = {**own, "calls": max(own.get("calls", 0.0) - nothing, 0.0)}
    if it.reads_onnx:  # what is added behind a product is added as that is written
        prices["bias"] = {}
    found = Target(path.stem, name, device, threads, "float32", where, versions, prices, errors)
    with replacing(path) as new:
        new.write_text(found.to_json(), encoding="utf-8")
    measured.forget()
    return found


def _where(it: Runtime) -> str:
    """On what machine, in words.

    Raises:
        InvalidInput: the device is not there, or the runtime does not compute on it.
    """
    here = Machine.here()
    if it.device == "cpu":
        return f"{here.cpu}, {here.cores} cores"
    if it.reads_onnx:
        raise InvalidInput(f"{it.name} is timed on a CPU, not on {it.device!r}; eager and inductor take other devices")
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None or found.type != it.device:
        here_too = "" if found is None else f" and {found.type!r}"
        raise InvalidInput(f"device {it.device!r} is not here; 'cpu'{here_too} can be timed")
    name = torch.get_device_module(it.device).get_device_name()
    return f"{name}, {here.cpu}"


def counted(sample: Sample, it: Runtime) -> Counter[str]:
    """How much of each term there is in a sample, as the plan would see it."""
    found: Counter[str] = Counter()
    for work in works(sample, it):
        for term, n in terms(work, 4):
            found[term] += n
    return found


def floor(it: Runtime, threads: int) -> float:
    """What a runtime that is handed a whole model takes for one that does nothing; eager is handed every call."""
    return 0.0 if it.name == "eager" else timed_alone(Sample("view", ((1, 1, 1, 1),)), it, threads)


class _Kept:
    """Times, each written down as soon as it is known; of another runtime or machine none is used."""

    def __init__(self, path: Path, about: object) -> None:
        self.path = path
        self.times = dict(self._read(about))
        if not self.times:
            with replacing(path) as new:
                new.write_text(json.dumps(about) + "\n", encoding="utf-8")

    def _read(self, about: object) -> Iterator[tuple[str, float]]:
        try:
            first, *lines = self.path.read_text(encoding="utf-8").splitlines()
            if json.loads(first) == about:
                yield from (tuple(json.loads(line)) for line in lines)
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError) as e:
            raise InvalidInput(f"{self.path}: what was measured before cannot be read; remove it: {e}") from e

    def get(self, what: str, measure: Callable[[], float]) -> float:
        if what not in self.times:
            self.times[what] = measure()
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([what, self.times[what]]) + "\n")
        return self.times[what]

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
