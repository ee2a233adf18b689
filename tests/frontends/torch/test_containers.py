"""Dataclasses in and out of a model: registered for the user, the same type again, compared, saved."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import convfold
from tests.folding import double, noise
from tests.laws.oracle import assert_close


@dataclasses.dataclass
class Inner:
    mask: Tensor


@dataclasses.dataclass
class Given:
    image: Tensor
    scale: float = 2.0
    inner: Any = None


@dataclasses.dataclass(frozen=True)
class Features:
    image: Tensor
    inner: Any = None
    missing: Tensor | None = None
    stage: int = 3
    rows: int = dataclasses.field(init=False, default=7)


@dataclasses.dataclass
class Named:
    image: Tensor
    name: str


@dataclasses.dataclass
class Doubling:
    image: Tensor

    def __post_init__(self) -> None:
        self.image = self.image * 2


@dataclasses.dataclass
class Positional:
    image: Tensor

    def __init__(self, x: Tensor) -> None:
        self.image = x


@dataclasses.dataclass
class Scaled:
    image: Tensor
    by: dataclasses.InitVar[float] = 2.0


@dataclasses.dataclass(slots=True, kw_only=True)
class Slots:
    image: Tensor
    twice: Tensor = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.twice = self.image * 2


class Plain:
    def __init__(self, image: Tensor) -> None:
        self.image = image


KINDS = (Inner, Given, Features, Named, Doubling, Positional, Scaled, Slots)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    for kind in KINDS:
        if kind in pytree.SUPPORTED_NODES:
            pytree._deregister_pytree_node(kind)


class Net(nn.Module):
    def __init__(self, give: Callable[[Tensor, Any], Any], take: Callable[[Any], Tensor] = lambda x: x) -> None:
        super().__init__()
        self.conv, self.norm, self.give, self.take = nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), give, take

    def forward(self, x: Any) -> Any:
        return self.give(self.norm(self.conv(self.take(x))), x)


OUT: dict[str, Callable[[Tensor, Any], Any]] = {
    "alone": lambda y, x: Features(y),
    "nested": lambda y, x: Features(y, Inner(y > 0)),
    "in a list in it": lambda y, x: Features(y, [Inner(y), {"more": Inner(-y)}]),
    "in a tuple": lambda y, x: (y, Features(y * 2)),
}


def same(a: Any, b: Any) -> None:
    """Types, and numbers."""
    assert pytree.tree_structure(a) == pytree.tree_structure(b)
    for y, z in zip(pytree.tree_leaves(a), pytree.tree_leaves(b), strict=True):
        assert_close(y.double(), z.double()) if isinstance(y, Tensor) else _equal(y, z)


def _equal(a: object, b: object) -> None:
    assert a == b


@pytest.mark.parametrize("name", OUT)
def test_returned(name: str, tmp_path: Path) -> None:
    net, x = double(Net(OUT[name])), noise(2, 3, 7, 6)
    hooks = len(net._forward_hooks)
    result = convfold.fold(net, x)
    assert len(net._forward_hooks) == hooks
    assert result.report.after.batch_norms == 0 and result.report.free == ("x[0]",)
    assert result.report.error is not None and result.report.error.passed
    result.save(tmp_path / "net.pt2")
    again = convfold.fold(tmp_path / "net.pt2")
    for n in (1, 2, 5):
        x = noise(n, 3, 7, 6)
        with torch.no_grad():
            same(result.module(x), net(x))
            same(again.module(x), net(x))


def test_a_wrong_one_is_caught() -> None:
    net, x = double(Net(OUT["nested"])), noise(2, 3, 7, 6)
    result = convfold.fold(net, x)
    with torch.no_grad():
        next(result.module.parameters()).mul_(1.01)
    assert not convfold.verify(net, result.module, x).passed


@pytest.mark.parametrize("nested", [False, True])
def test_taken(nested: bool, tmp_path: Path) -> None:
    def given(n: int) -> Given:
        return Given(noise(n, 3, 7, 6), 1.5, [Inner(noise(n, 4, 1, 1))] if nested else None)

    net = double(Net(lambda y, x: y * x.scale + (x.inner[0].mask if nested else 0), lambda x: x.image))
    result = convfold.fold(net, (given(2),))
    assert result.report.after.batch_norms == 0 and len(result.report.free) == 1 + nested
    result.save(tmp_path / "net.pt2")
    for n in (1, 2, 5):
        with torch.no_grad():
            for module in (result.module, convfold.fold(tmp_path / "net.pt2").module):
                assert_close(module(given(n)), net(given(n)))


def test_onnx_knows_tensors(tmp_path: Path) -> None:
    x = noise(2, 3, 7, 6)
    result = convfold.fold(double(Net(lambda y, x: Given(y, inner=Inner(-y), scale=y.mean()))), x)
    result.save(tmp_path / "net.onnx")
    assert len(onnx.load(tmp_path / "net.onnx").graph.output) == 3
    result = convfold.fold(double(Net(OUT["alone"])), x)
    with pytest.raises(
        convfold.InvalidInput, match=r"the model returns 3 beside its tensors, which an ONNX file cannot"
    ):
        result.save(tmp_path / "none.onnx")
    assert sorted(x.name for x in tmp_path.iterdir()) == ["net.onnx"]


def test_text_is_in_no_file(tmp_path: Path) -> None:
    """torch writes it, and does not read what it wrote."""
    net, x = double(Net(lambda y, x: Named(y, "segments"))), noise(2, 3, 7, 6)
    result = convfold.fold(net, x)
    with torch.no_grad():
        same(result.module(x), net(x))
    for suffix, kind in ((".pt2", "a .pt2"), (".onnx", "an ONNX")):
        said = f"the model returns 'segments' beside its tensors, which {kind} file cannot hold; leave it out of"
        with pytest.raises(convfold.InvalidInput, match=said):
            result.save(tmp_path / f"net{suffix}")
    assert list(tmp_path.iterdir()) == []
    torch.export.save(result.program(), tmp_path / "net.pt2")
    with pytest.raises(convfold.InvalidInput, match="Unable to deserialize output node"):
        convfold.fold(tmp_path / "net.pt2")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Doubling, "Doubling: made again from its fields it has others"),
        (Scaled, "Scaled: it is made of more than its fields: by"),
        (Positional, r"Positional: it cannot be made again from its fields: .*unexpected keyword"),
    ],
)
def test_a_class_that_does_not_hold_what_it_is_given(kind: Any, said: str) -> None:
    x = noise(2, 3, 7, 6)
    with pytest.raises(convfold.InvalidInput, match=f"^output {said}.*register_pytree_node"):
        convfold.fold(double(Net(lambda y, x: kind(y))), x)
    with pytest.raises(convfold.InvalidInput, match=f"^input {said}.*register_pytree_node"):
        convfold.fold(double(Net(lambda y, x: y, lambda x: x.image)), (kind(x),))
    assert kind not in pytree.SUPPORTED_NODES


def test_an_object_that_is_no_container() -> None:
    """In one line, with the way out."""
    x = noise(2, 3, 7, 6)
    out = r"^Net returns Plain objects, .*make the class a dataclass.*torch\.export\.register_dataclass.*tuple"
    with pytest.raises(convfold.InvalidInput, match=out):
        convfold.fold(double(Net(lambda y, x: [y, Plain(y)])), x)
    with pytest.raises(convfold.InvalidInput, match=r"^Net takes Plain objects, .*register_dataclass"):
        convfold.fold(double(Net(lambda y, x: y, lambda x: x.image)), (Plain(x),))


def test_what_is_computed_from_the_fields_is_computed_again() -> None:
    net, x = double(Net(lambda y, x: Slots(image=y))), noise(2, 3, 7, 6)
    result = convfold.fold(net, x)
    with torch.no_grad():
        assert_close(result.module(x).twice, net(x).twice)
    for module in (pickle.loads(pickle.dumps(result.module)), copy.deepcopy(result.module)):
        with torch.no_grad():
            same(module(x), net(x))


def test_a_class_made_anew_under_the_same_name(tmp_path: Path) -> None:
    """As in a notebook whose cell runs again: the file is read as the newer one."""
    for _ in range(2):
        kind = dataclasses.make_dataclass("Again", [("image", Tensor)])
        net, x = double(Net(lambda y, x, kind=kind: kind(y))), noise(2, 3, 7, 6)  # type: ignore[misc]
        convfold.fold(net, x).save(tmp_path / "net.pt2")
        assert type(convfold.fold(tmp_path / "net.pt2").module(x)) is kind


def test_what_the_user_registered_is_taken() -> None:
    torch.export.register_dataclass(Features, serialized_type_name="mine")
    net, x = double(Net(OUT["alone"])), noise(2, 3, 7, 6)
    with torch.no_grad():
        same(convfold.fold(net, x).module(x), net(x))
    assert pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE["mine"] is Features
