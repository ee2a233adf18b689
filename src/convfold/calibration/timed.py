"""How long a sample takes in a runtime, and what the plan would call it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import quantiles
from time import perf_counter
from typing import Any

import torch

from convfold.algebra.operation import Work
from convfold.calibration.as_torch import module
from convfold.calibration.samples import Sample
from convfold.config import FoldConfig
from convfold.fold import opened
from convfold.runtimes import Runtime

#: Seconds that one sample is timed for, its first calls aside, and no fewer rounds than that.
SECONDS, ROUNDS = 0.08, 5


def works(sample: Sample, runtime: Runtime) -> tuple[Work, ...]:
    """The calls of a sample, as a model of it is read."""
    return works_of(_model(sample, replace(runtime, device="cpu"), whole=True), _inputs(sample))


def works_of(model: Any, args: tuple[torch.Tensor, ...]) -> tuple[Work, ...]:
    """The affine calls of a model, as they are."""
    regions = opened(model, args, config=FoldConfig(verify=False)).stretches.regions
    return tuple(
        work
        for region in regions
        for node in region.steps
        if node.operation is not None
        for work in node.operation.work([region.by_name[i].signal.shape for i in node.inputs], node.signal.shape)
    )


def timed_alone(sample: Sample, runtime: Runtime, threads: int) -> float:
    """Of its quicker calls: what else the machine does makes some slower, and none quicker."""
    runtime = replace(runtime, waits=False)  # one call is prepared while another is computed, as in a model
    call = runtime.ready(_model(sample, runtime), _inputs(sample, runtime.device), {}, threads)
    try:
        return timed(call, runtime.wait)
    finally:
        runtime.forget()


def timed(call: Callable[[], Any], wait: Callable[[], None] = lambda: None) -> float:
    """Of runs that are long enough to be told apart by the clock; ``wait`` until what was called is done."""
    call()
    wait()
    once = _run(call, wait, 1)
    repeats = max(1, round(0.002 / max(once, 1e-7)))
    times, end = list[float](), perf_counter() + SECONDS
    while len(times) < ROUNDS or perf_counter() < end:
        times.append(_run(call, wait, repeats))
    return quantiles(times, n=5)[0]


def _run(call: Callable[[], Any], wait: Callable[[], None], repeats: int) -> float:
    start = perf_counter()
    for _ in range(repeats):
        call()
    wait()
    return (perf_counter() - start) / repeats


def _model(sample: Sample, runtime: Runtime, whole: bool = False) -> Any:
    if not runtime.reads_onnx:
        return module(sample).to(runtime.device)
    from convfold.calibration.as_onnx import model

    return model(sample, whole)


def _inputs(sample: Sample, device: str = "cpu") -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    return tuple(torch.randn(shape).to(device) for shape in sample.shapes)
