"""A folded model is called as the original is: any signature, any nesting, keywords in any order, any batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import convfold
from tests.folding import double, noise
from tests.laws.oracle import assert_close


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, (3, 2)), nn.BatchNorm2d(4)

    def step(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x)).relu()
        return y


class Variadic(Parts):
    def forward(self, *xs: Tensor) -> list[Tensor]:
        return [self.step(x) for x in xs]


class Keywords(Parts):
    def forward(self, x: Tensor, *, y: Tensor, z: Tensor | None = None, flag: bool = True) -> tuple[Tensor, Tensor]:
        return self.step(x) + (y if flag else 0), y * 2 if z is None else z


class Nested(Parts):
    def forward(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"first": self.step(given["a"]), "rest": (given["b"][0] + 1, None, 3)}


Inputs = tuple[tuple[Any, ...], dict[str, Any]]

X, Y, Z = (3, 7, 6), (4, 5, 5), (7,)
CASES: list[tuple[type[Parts], Callable[[int], Inputs]]] = [
    (Variadic, lambda n: ((noise(n, *X), noise(n, *X, seed=2)), {})),
    (Keywords, lambda n: ((noise(n, *X),), {"y": noise(n, *Y)})),
    (Keywords, lambda n: ((noise(n, *X),), {"z": noise(n, *Z), "y": noise(n, *Y)})),
    (Keywords, lambda n: ((), {"z": noise(n, *Z), "flag": False, "y": noise(n, *Y), "x": noise(n, *X)})),
    (Nested, lambda n: (({"a": noise(n, *X), "b": [noise(n, *Z)]},), {})),
]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(("kind", "inputs"), CASES)
def test_same_call_same_answer(kind: type[Parts], inputs: Callable[[int], Inputs], batch: int) -> None:
    net = double(kind())
    args, kwargs = inputs(batch)
    result = convfold.fold(net, args, kwargs)
    assert result.report.changed
    assert len(result.report.free) == sum(isinstance(x, Tensor) for x in pytree.tree_leaves((args, kwargs)))
    for n in (1, 2, 5):
        args, kwargs = inputs(n)
        with torch.no_grad():
            expected, got = net(*args, **kwargs), result.module(*args, **dict(reversed(kwargs.items())))
        assert pytree.tree_structure(got) == pytree.tree_structure(expected)
        for y, z in zip(pytree.tree_leaves(expected), pytree.tree_leaves(got), strict=True):
            assert_close(z, y) if isinstance(y, Tensor) else _same(z, y)


def _same(a: object, b: object) -> None:
    assert a == b


def test_a_flag_that_was_compiled_in_cannot_be_changed() -> None:
    x, y = noise(2, *X), noise(2, *Y)
    result = convfold.fold(double(Keywords()), (x,), {"y": y, "flag": True})
    with pytest.raises(convfold.InvalidInput, match=r"'flag'.*True.*compiled in.*False"):
        result.module(x, y=y, flag=False)


def test_one_tensor_given_twice_may_be_two() -> None:
    """Attention asks whether query and key are one tensor; the folded module is right when they are not."""
    net = double(nn.MultiheadAttention(8, 2, batch_first=True))
    x, y, z = noise(2, 5, 8), noise(2, 5, 8, seed=2), noise(2, 5, 8, seed=3)
    result = convfold.fold(net, (x, x, x))
    for inputs in ((x, x, x), (x, y, z)):
        with torch.no_grad():
            for expected, got in zip(net(*inputs), result.module(*inputs), strict=True):
                assert_close(got, expected)


class Branching(Parts):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.cond(x.sum() > 0, self.step, torch.relu, (self.norm(self.conv(x)),))
        return y

    def step(self, x: Tensor) -> Tensor:
        return -x


@pytest.mark.parametrize("exported", [False, True])
def test_control_flow_folds_and_is_verified(exported: bool) -> None:
    net, x = double(Branching()), noise(2, *X)
    for _ in range(2):  # a second time: running it must leave nothing behind that export minds
        result = convfold.fold(torch.export.export(net, (x,)) if exported else net, x)
    assert result.report.error is not None and result.report.error.passed
    assert result.report.after.batch_norms == 0
    with torch.no_grad():
        for signal in (x, -x):
            assert_close(result.module(signal), net(signal))


def test_a_size_that_is_not_free_is_refused_by_name() -> None:
    result = convfold.fold(double(Keywords()), (noise(2, *X),), {"y": noise(2, *Y)})
    with pytest.raises(convfold.InvalidInput, match=r"'x': expected shape \(any, 3, 7, 6\), got \(2, 3, 7, 5\)"):
        result.module(noise(2, 3, 7, 5), y=noise(2, *Y))


def test_a_program_and_a_file_are_models_too(tmp_path: Any) -> None:
    net = double(Keywords())
    inputs = (noise(2, *X),), {"y": noise(2, *Y)}
    program = torch.export.export(net, *inputs)
    torch.export.save(program, tmp_path / "net.pt2")
    with torch.no_grad():
        expected = net(*inputs[0], **inputs[1])
        for model in (program, tmp_path / "net.pt2"):
            result = convfold.fold(model)
            assert result.report.changed and not result.report.free
            for y, z in zip(expected, result.module(*inputs[0], **inputs[1]), strict=True):
                assert_close(z, y)
