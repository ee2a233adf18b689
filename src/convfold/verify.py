"""Is the folded model the same function? Both are run from one state, and compared with the original in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from convfold.comparison.compare import ILLEGAL_SIZE, Comparison, Runs
from convfold.comparison.modules import Module, module
from convfold.comparison.trials import Inputs, Trial, at_example, randomised
from convfold.comparison.verdict import Verdict
from convfold.errors import InvalidInput, VerificationFailed
from convfold.files import is_onnx

if TYPE_CHECKING:
    from convfold.comparison.declared import Check
    from convfold.frontends.onnx.source import Source

__all__ = ["ILLEGAL_SIZE", "Verdict", "verified", "verify"]


def verify(
    model_a: nn.Module | ExportedProgram | Any,
    model_b: nn.Module | ExportedProgram | Any,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    more: Sequence[tuple[str, Inputs]] = (),
    seed: int = 0,
    trials: Sequence[Trial] | None = None,
    thorough: bool = True,
) -> Verdict:
    """Compare two models that should compute the same, on the example and on random inputs of its size.

    Neither model is changed: whatever a run writes (buffers, attributes, random numbers) is put back after it.

    Args:
        model_a: the reference; it is run in float64 too. A module, an exported program, or an ONNX model: the path of
            a file, a ``ModelProto`` or an ``onnx_ir.Model``.
        model_b: the one to judge. Of an ONNX model inputs and outputs are matched in their order, not by name.
        args, kwargs: example inputs. Without, those of an ONNX model are drawn from what it declares.
        more: further inputs (at other sizes), each with a name for the report; sizes model_a refuses are passed over.
        seed: of the random inputs, and of what the models draw themselves.
        trials: what to compare at instead of all that.
        thorough: compute model_b in float64 even where its own type settles that it is the same.

    Raises:
        InvalidInput: the inputs do not fit, or the outputs have different structure.
    """
    if args is None and not kwargs and trials is None and is_onnx(model_a):
        from convfold.frontends.onnx.source import read

        return _drawn(read(model_a), model_a, model_b, "full", seed)
    args = (args,) if isinstance(args, Tensor) else args
    if not isinstance(args, tuple | list):
        raise InvalidInput(f"args must be a tuple of the models' inputs, got {type(args).__name__}")
    example: Inputs = (tuple(args), dict(kwargs or {}))
    if trials is None:
        generator = torch.Generator().manual_seed(seed)
        others = [Trial(name, randomised(inputs, generator), exact=False) for name, inputs in more]
        trials = [*at_example(example, seed), *others]
    inputs = [x for t in trials for x in (t.inputs, t.part) if x is not None]
    first = _runs(model_a, inputs, seed)
    with torch.no_grad():
        comparison = Comparison(first, _runs(model_b, inputs, seed, first), thorough)
        for trial in trials:
            comparison.at(trial)
    return comparison.verdict()


def verified(source: Source, folded: Any, check: Check = "full", seed: int = 0) -> Verdict:
    """Is a folded ONNX model the same function as the one it was made of, which was given as ``source.original``?

    check: "quick" compares at one set of sizes, "full" at several, with several random inputs of each.

    Raises:
        VerificationFailed: the folded model does not run, or has other inputs or outputs.
    """
    from convfold.frontends.onnx.source import interface, opened

    if (was := interface(opened(source.original))) != (now := interface(opened(folded))):
        raise VerificationFailed(f"the folded model has other inputs or outputs: {now}, not {was}")
    try:
        return _drawn(source, source.original, folded, check, seed)
    except InvalidInput as e:
        raise VerificationFailed(f"the folded model cannot be compared: {e}") from e


def _drawn(source: Source, first: Any, second: Any, check: Check, seed: int) -> Verdict:
    """On inputs drawn from what the first model declares."""
    from convfold.comparison.declared import again, declared, text
    from convfold.comparison.onnx_models import OnnxModel

    if what := text(source.model):
        return Verdict.of_nothing(f"it takes {what}")
    by = OnnxModel(first)
    with torch.no_grad():
        comparison = Comparison(by, _runs(second, [], seed, by), thorough=False)
        for instead in declared(source, check, seed):
            any(comparison.at(trial) for trial in instead)
        for instead in again(source, seed) if comparison.doubtful else ():
            if comparison.doubtful:
                any(comparison.at(trial) for trial in instead)
    if not comparison.tried:
        return Verdict.of_nothing(f"it runs on none of the inputs drawn: {comparison.refused or comparison.empty}")
    return comparison.verdict()


def _runs(model: Any, inputs: Sequence[Inputs], seed: int, first: Runs | None = None) -> Runs:
    if is_onnx(model):
        from convfold.comparison.onnx_models import OnnxModel

        return OnnxModel(model, first)
    return Module(module(model), inputs, seed)
