"""A table of small nets, folded together: one export for many layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Interpreter
from torch.utils.flop_counter import FlopCounterMode

import convfold
from convfold.errors import BORDERS, GHOSTS
from convfold.layers.bordered import Bordered
from tests.folding import BATCHES, call_name, double, noise, tensors
from tests.laws.oracle import assert_close, assert_close_apart

CONV: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[nn.Module]] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORM: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
SPACE = {1: (11,), 2: (7, 10), 3: (6, 7, 9)}

#: Calls that multiply by weights.
LAYERS = {"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear"}
#: Affine calls that a composition absorbs; none of them may be left where ``layers`` is given.
ABSORBED = {"batch_norm", "mul", "div", "sub", "neg", "rsub", "addcmul", "avg_pool1d", "avg_pool2d", "avg_pool3d"}


@dataclass(frozen=True)
class Case:
    """A net, its input's shape without the batch, and what must become of it.

    Attributes:
        calls: exactly these calls are left, by name.
        layers: this many convolutions and linears are left, and nothing that they could have absorbed.
        code: a reason that must be given for what was left.
        macs: the multiply-adds left, for one batch item.
        space: axes of the output whose border is compared apart from the interior.
        merges: `merge` of the net's modules gives one layer that does the same (True), refuses with a code, or is not
            asked (None). The code of a ghost: one layer refuses with it, and so does ``border="refuse"``; by default
            there is a border beside it, and it is exact.
    """

    name: str
    net: nn.Module
    shape: tuple[int, ...]
    calls: dict[str, int] | None = None
    layers: int | None = None
    code: str | None = None
    macs: int | None = None
    space: tuple[int, ...] = ()
    merges: bool | str | None = None
    of: bool = True  # `Convolution.of` where it merges


class _Table(nn.Module):
    """All nets side by side; those of one input shape get a slice each of one input, for export counts its symbols."""

    def __init__(self, cases: Sequence[Case]) -> None:
        super().__init__()
        self.cases = nn.ModuleDict({f"c{i}": case.net for i, case in enumerate(cases)})
        self.shapes = list(dict.fromkeys(case.shape for case in cases))
        self.order = [case.shape for case in cases]

    def inputs(self, batch: int, seed: int = 1) -> tuple[Tensor, ...]:
        return tuple(noise(batch, self.order.count(s), *s, seed=seed + i) for i, s in enumerate(self.shapes))

    def forward(self, *inputs: Tensor) -> list[Tensor]:
        parts = {shape: iter(x.unbind(1)) for shape, x in zip(self.shapes, inputs, strict=True)}
        return [net(next(parts[shape])) for net, shape in zip(self.cases.values(), self.order, strict=True)]


def check(cases: Sequence[Case], batch_free: bool = True) -> convfold.Result:
    """Fold the table, compare each net at several batch sizes, and look what is left of it; says all that is wrong."""
    table = double(_Table(cases))
    assert isinstance(table, _Table)
    result = convfold.fold(table, table.inputs(2), config=convfold.FoldConfig(objective="macs"))
    assert len(result.report.free) == batch_free * len(table.shapes), result.report.free
    wrong = []
    for batch in BATCHES if batch_free else (2,):
        inputs = table.inputs(batch, seed=10 * batch)
        with torch.no_grad():
            expected, got = tensors(table(*inputs)), tensors(result.module(*inputs))
        for case, y, z in zip(cases, expected, got, strict=True):
            apart = (assert_close_apart, z, y, case.space) if case.space else (assert_close, z, y)
            wrong += _failure(case, *apart, f"at batch {batch}")
    left = _nodes_by_output(result)
    macs = _Counted(result.module, *table.inputs(1)).macs if any(case.macs is not None for case in cases) else {}
    for i, (case, nodes) in enumerate(zip(cases, left, strict=True)):
        calls = _calls(nodes)
        codes = {
            r.code for r in result.report.refused if r.where.startswith(f"cases.c{i}.") or r.where == f"cases.c{i}"
        }
        wrong += _failure(case, _assert_expected, case, calls, codes)
        wrong += _failure(case, _assert_macs, case, sum(macs.get(n, 0) for n in nodes), calls)
        wrong += _failure(case, _assert_merges, case)
    if wrong:
        raise AssertionError("\n" + "\n".join(wrong))
    return result


def _failure(case: Case, check: object, *args: object) -> list[str]:
    try:
        check(*args)  # type: ignore[operator]
    except (AssertionError, convfold.ConvfoldError) as e:
        return [f"{case.name}: {str(e) or type(e).__name__}"]
    return []


def _assert_expected(case: Case, calls: Counter[str], codes: set[str]) -> None:
    if case.calls is not None and calls != case.calls:
        raise AssertionError(f"left {dict(calls)}, expected {case.calls}; reasons {codes}")
    if case.layers is not None:
        layers = sum(n for name, n in calls.items() if name in LAYERS)
        if layers != case.layers or calls.keys() & ABSORBED:
            raise AssertionError(f"left {dict(calls)}, expected {case.layers} layers; reasons {codes}")
    if case.code is not None and case.code not in codes:
        raise AssertionError(f"reasons {codes or 'none'}, expected {case.code!r}; left {dict(calls)}")


def _assert_macs(case: Case, macs: int, calls: Counter[str]) -> None:
    if case.macs is not None and macs != case.macs:
        raise AssertionError(f"{macs} multiply-adds, expected {case.macs}; left {dict(calls)}")


def _assert_merges(case: Case) -> None:
    if case.merges is None:
        return
    modules = list(case.net) if isinstance(case.net, nn.Sequential) else [case.net]
    mends = isinstance(case.merges, str) and case.merges in GHOSTS
    if isinstance(case.merges, str):
        for border in ("refuse",) if mends else BORDERS:
            _assert_refused(case.merges, convfold.merge, *modules, border=border)
        _assert_refused(case.merges, convfold.Convolution.of, case.net)
        if not mends:
            return
    merged = convfold.merge(*modules)
    assert isinstance(merged, Bordered) == mends, f"merged to {merged}"
    value = convfold.Convolution.of(case.net) if case.of and not mends else merged
    smallest, *longer = _shapes(case.net, case.shape)
    assert not mends or len(longer) > 2, f"nothing is much smaller than {case.shape}"
    longer = longer if mends else [case.shape]  # somewhere among them the strips begin to overlap
    for shape in {smallest, *longer, (case.shape[0], *(n + 2 for n in case.shape[1:]))}:
        x = noise(2, *shape)
        with torch.no_grad():
            expected = case.net(x)
            assert_close(merged(x), expected, f"merge at {shape}")
            assert_close(value(x), expected, f"Convolution.of at {shape}")


def _assert_refused(code: str, f: Callable[..., object], *args: Any, **options: Any) -> None:
    """As `refused`, but an AssertionError where nothing is raised, to be reported beside the other cases'."""
    try:
        f(*args, **options)
    except convfold.NotFoldable as e:
        if e.code != code:
            raise AssertionError(f"refused with {e.code!r}, expected {code!r}: {e}") from None
    else:
        raise AssertionError(f"not refused, expected {code!r}")


@torch.no_grad()
def _shapes(net: nn.Module, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The shape with every axis of space as short as the net takes it, and longer by one each, up to its own."""

    def takes(axis: int, n: int) -> bool:
        try:
            y = net(noise(1, *shape[:axis], n, *shape[axis + 1 :]))
        except (RuntimeError, ValueError):
            return False
        return bool(y.numel())

    axes = [[n for n in range(1, m + 1) if takes(i, n)] for i, m in enumerate(shape) if i > 0]
    steps = max(map(len, axes), default=1)
    return [(shape[0], *(axis[min(step, len(axis) - 1)] for axis in axes)) for step in range(steps)]


class _Counted(Interpreter):
    """The multiply-adds of every call, by torch's counter."""

    def __init__(self, module: Any, *inputs: Tensor) -> None:
        super().__init__(module)
        self.macs: dict[Any, int] = {}
        with torch.no_grad():
            self.run(*inputs)

    def run_node(self, n: Any) -> Any:
        with FlopCounterMode(display=False) as counter:
            y = super().run_node(n)
        self.macs[n] = counter.get_total_flops() // 2
        return y


def _nodes_by_output(result: convfold.Result) -> list[set[Any]]:
    """The graph nodes each output is computed by."""
    (output,) = (n for n in result.module.graph.nodes if n.op == "output")
    found = []
    for value in output.args[0]:
        seen, todo = set(), [value]
        while todo:
            node = todo.pop()
            if node not in seen:
                seen.add(node)
                todo.extend(node.all_input_nodes)
        found.append(seen)
    return found


def _calls(nodes: set[Any]) -> Counter[str]:
    return Counter(name for n in nodes if (name := call_name(n)) and name not in ("sym_size", "unbind"))
