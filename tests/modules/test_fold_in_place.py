"""fold_(): the user's own model computes by its folded form, and is otherwise what it was."""

from __future__ import annotations

import copy
import io
import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import convfold
import zoo
from convfold.errors import InvalidInput
from convfold.modules import Folded, Merged, places
from convfold.modules.changes import Change
from convfold.modules.seen import seen
from convfold.plan import Cost
from tests.folding import randomised


class Rep(nn.Module):
    """Three branches, a norm each."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.Conv2d(c, c, 1, bias=False)
        self.na, self.nb, self.n = (nn.BatchNorm2d(c) for _ in range(3))

    def forward(self, x: Tensor, scale: float | None = None) -> Tensor:
        y = torch.relu(self.na(self.a(x)) + self.nb(self.b(x)) + self.n(x))
        return y if scale is None else scale * y

    def widest(self) -> int:
        return 3


class Net(nn.Module):
    """A stem whose layers follow one another, blocks, a head; a loop that asks its input, and a dict for an output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.blocks = nn.ModuleList(Rep() for _ in range(2))
        self.head = nn.Sequential(nn.Conv2d(8, 16, 1), nn.BatchNorm2d(16))
        self.config = {"depth": 2}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = torch.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        if float(x.detach().sum()) > 1e9:  # no export gets past this
            x = x / 2
        return {"y": self.head(x)}


def made(seed: int = 0) -> tuple[Net, Tensor]:
    return randomised(Net(), seed).eval(), torch.randn(2, 3, 16, 12, generator=torch.Generator().manual_seed(1))


def close(y: Tensor, z: Tensor) -> bool:
    return y.shape == z.shape and bool((y - z).norm() <= 1e-5 * z.norm())


def test_each_part_is_folded_where_it_is() -> None:
    net, x = made()
    expected, parts = net(x)["y"], dict(net.named_modules())
    found = convfold.fold_(net, (x,))
    assert close(net(x)["y"], expected)
    assert {p.path for p in found.places if isinstance(p, Folded)} == {"blocks.0", "blocks.1"}
    assert [p.paths for p in found.places if isinstance(p, Merged)] == [("head.0", "head.1")]
    assert type(net) is Net and net.config == {"depth": 2}
    assert all(net.get_submodule(path) is parts[path] for path in ("", "blocks", "blocks.0", "blocks.1", "head"))
    assert isinstance(net.blocks[0], Rep) and net.blocks[0].widest() == 3
    assert "not-exported" in {r.code for r in found.refused}
    assert not any("blocks.0.n" in name for name in net.state_dict())


def test_layers_that_follow_one_another_become_one() -> None:
    net = randomised(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))).eval()
    x = torch.randn(2, 3, 9, 8)
    expected = net(x)
    found = convfold.fold_(net, x)
    (place,) = found.places
    assert isinstance(place, Merged) and (place.paths, place.at) == (("0", "1"), "0")
    assert [type(m) for m in net] == [nn.Conv2d, nn.Identity, nn.ReLU, nn.Conv2d]
    assert net[0].bias is not None and close(net(x), expected)


def test_it_is_undone() -> None:
    net, x = made()
    expected, before = net(x)["y"], net.state_dict()
    convfold.fold_(net, (x,))
    assert convfold.unfold_(net) is net
    assert net(x)["y"].equal(expected)
    after = net.state_dict()
    assert list(after) == list(before) and all(
        after[name] is not None and after[name].equal(before[name]) for name in before
    )
    assert type(net.blocks[0]) is Rep and type(net.norm) is nn.BatchNorm2d
    assert convfold.unfold_(net) is net  # nothing to undo


def test_folded_twice_it_is_as_folded_once() -> None:
    net, x = made()
    convfold.fold_(net, (x,))
    names = list(net.state_dict())
    assert not convfold.fold_(net, (x,)).places
    assert list(net.state_dict()) == names


def test_calls_it_was_not_folded_for() -> None:
    """Another batch is folded; another size or flag is computed as before, and refused once weights have changed."""
    net, x = made()
    block, other = copy.deepcopy(net.blocks[0]), torch.randn(3, 8, 5, 7)
    convfold.fold_(net, (x,))
    small = torch.randn(5, 3, 16, 12)
    assert net(small)["y"].shape[0] == 5
    assert net.blocks[0](other).equal(block(other))
    assert net.blocks[0](other, 2.0).equal(block(other, 2.0))
    with torch.no_grad():
        next(net.blocks[0].parameters()).mul_(2)
    for changed in (net, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        with pytest.raises(convfold.InvalidInput, match="expected"):
            changed.blocks[0](other)


def test_bad_input() -> None:
    net, x = made()
    with pytest.raises(convfold.InvalidInput, match=r"changes an nn\.Module where it is, not a str"):
        convfold.fold_("net.pt2", x)
    with pytest.raises(convfold.InvalidInput, match="cannot be called with these inputs: TypeError"):
        convfold.fold_(net)
    with pytest.raises(convfold.InvalidInput, match="cannot be called with these inputs: RuntimeError"):
        convfold.fold_(net, torch.randn(2, 4, 8, 8))
    with pytest.raises(convfold.InvalidInput, match="training mode"):
        convfold.fold_(made()[0].train(), x)
    net.blocks[1].a.weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(convfold.InvalidInput, match="contains NaN"):
        convfold.fold_(net, x)
    assert type(net.blocks[0]) is Rep and type(net.head[1]) is nn.BatchNorm2d


def test_types_and_copies() -> None:
    net, x = made()
    convfold.fold_(net, (x,))
    expected = net(x)["y"]
    for again in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert isinstance(again.blocks[0], Rep) and again(x)["y"].equal(expected)
        convfold.unfold_(again)
        assert close(again(x)["y"], expected)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    net.load_state_dict(torch.load(file, weights_only=True))
    assert net(x)["y"].equal(expected)
    wide = copy.deepcopy(again).double()  # as it was before, for it is undone
    assert wide(x.double())["y"].dtype == torch.float64


def test_it_is_cast_with_what_it_was_before() -> None:
    net, x = made()
    convfold.fold_(net, (x,))
    other = torch.randn(1, 8, 4, 4, dtype=torch.float64)
    assert net.double().blocks[0](other).dtype == torch.float64
    assert net(x.double())["y"].dtype == torch.float64


def test_hooks_stay() -> None:
    net, x = made()
    seen = list[str]()
    for path in ("stem", "blocks.0", "head"):
        net.get_submodule(path).register_forward_hook(lambda *_, path=path: seen.append(path))
    convfold.fold_(net, (x,))
    seen.clear()
    net(x)
    assert {"blocks.0", "head"} <= set(seen)


def test_a_module_that_is_shared_stays_shared() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = Rep()
            self.other = self.one
            self.last = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.other(self.one(x)))

    net = randomised(Twice()).eval()
    x = torch.randn(2, 8, 6, 6)
    expected = net(x)
    convfold.fold_(net, x)
    assert net.one is net.other and close(net(x), expected)
    assert "folded" in dict(net.one.named_children())


def test_boundaries() -> None:
    net, x = made()
    found = convfold.fold_(net.blocks[0], torch.randn(2, 8, 6, 6), boundaries=("na",))
    assert not found.places and {r.code for r in found.refused} == {"crosses-module"}
    with pytest.raises(convfold.InvalidInput, match="boundary 'nobody' matches no module"):
        convfold.fold_(net, x, boundaries=("nobody",))
    with pytest.raises(convfold.InvalidInput, match="exclude 'nobody' matches no module"):
        convfold.fold_(net, x, config=convfold.FoldConfig(exclude=("nobody",)))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x) * 2)


def test_what_is_not_shown_to_be_the_same_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = nn.Sequential(Block(), nn.ReLU(), Block()).eval(), torch.randn(2, 2, 5, 6)
    judges = places.judges

    def strict(source: Any, check: str, original: nn.Module | None = None) -> Any:
        verified, overflows = judges(source, check, original)
        return (lambda m: replace(verified(m), passed=original is not net[0])), overflows

    monkeypatch.setattr(places, "judges", strict)
    expected = net(x)
    found = convfold.fold_(net, x, boundaries=["0", "2"])
    assert [(r.code, r.where) for r in found.refused] == [("not-verified", "0")]
    assert "the folded model differs" in found.refused[0].detail
    assert type(net[0]) is Block and len(found.places) == 1
    assert torch.allclose(net(x), expected, atol=1e-5)


def test_what_a_folded_block_names_need_not_be_there() -> None:
    """Calls of a block that was folded before are in modules by the names of those that it had."""
    net, x = nn.Sequential(Block()), torch.randn(2, 2, 5, 6)
    calls, _ = seen(net, (x,), {})
    found = places.Places(net, calls, (), convfold.FoldConfig(), lambda stage: None)
    assert found._place(Change(("pool",), ("0.folded.pool",), Cost(), 1), "") == "0"


def test_constants_of_the_code_are_in_no_checkpoint() -> None:
    class Held(Block):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(super().forward(x)) * torch.tensor([[[1.5]], [[0.5]]]).softmax(0)

    model, other, x = nn.Sequential(Held()).eval(), nn.Sequential(Held()).eval(), torch.randn(2, 2, 5, 6)
    expected = other(x)
    found = convfold.fold_(model, x)
    assert {of for names in found.weights.values() for of in names} <= {*other.state_dict()}
    model.load_state_dict(found.convert(other.state_dict()))
    assert torch.allclose(model(x), expected, atol=1e-5)


@pytest.mark.parametrize("how", [{"boundaries": ["1"]}, {"depth": 1}], ids=str)
def test_layers_on_two_sides_of_an_edge_are_no_one_layer(how: dict[str, Any]) -> None:
    model = nn.Sequential(nn.Sequential(nn.ReLU(), nn.Conv2d(4, 16, 1)), nn.Sequential(nn.Conv2d(16, 3, 1), nn.ReLU()))
    x = torch.randn(2, 4, 6, 5)
    found = convfold.fold_(model.eval(), x, **how)
    assert not found.places and {r.code for r in found.refused} == {"crosses-module"}
    convfold.unfold_(model)
    assert len(convfold.fold_(model, x).places) == 1


def test_what_is_excluded_is_left() -> None:
    net, x = made()
    found = convfold.fold_(net, (x,), config=convfold.FoldConfig(exclude=("blocks.1",)))
    assert {p.path for p in found.places if isinstance(p, Folded)} == {"blocks.0"}


@pytest.mark.parametrize("name", ["tiny-mobileone", "tiny-vit", "tiny-resnet"])
def test_models_of_the_zoo(name: str) -> None:
    case = zoo.build(name)
    with torch.no_grad():
        expected = case.model(*case.args, **case.kwargs)
        found = convfold.fold_(case.model, case.args, dict(case.kwargs))
        got = case.model(*case.args, **case.kwargs)
    assert found.places and type(got) is type(expected)
    assert all(close(y, z) for y, z in zip(pytree.tree_leaves(got), pytree.tree_leaves(expected), strict=True))


def test_layers_that_are_found_twice_are_merged_once() -> None:
    """In a block that is planned by itself, and in what holds it, across which something else is folded."""

    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.n, self.b = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3)
            self.m = nn.BatchNorm2d(8)

        def forward(self, x: Tensor) -> Tensor:
            return self.m(self.b(self.n(self.a(x)).relu()))

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.side = nn.ModuleList(Inner() for _ in range(2)), nn.Conv2d(8, 8, 1)

        def forward(self, x: Tensor) -> Tensor:
            for inner in self.inner:
                x = inner(x)
            return self.side(x).relu()

    net, x = randomised(nn.Sequential(Outer(), nn.Conv2d(8, 4, 1))).eval(), torch.randn(2, 8, 12, 11)
    expected, before, words = net(x), net.state_dict(), repr(net)
    found = convfold.fold_(net, x)
    layers = [path for place in found.places if isinstance(place, Merged) for path in place.paths]
    assert len(set(layers)) == len(layers)
    assert close(net(x), expected)
    convfold.unfold_(net)
    assert repr(net) == words and list(net.state_dict()) == list(before) and net(x).equal(expected)


def test_layers_that_the_plan_keeps_apart_stay_apart() -> None:
    """Norms go into their convolutions; a pointwise and a depthwise one are not made dense."""
    net = nn.Sequential(
        nn.Conv2d(8, 32, 1, bias=False), nn.BatchNorm2d(32), nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False),
        nn.BatchNorm2d(32), nn.ReLU(),
    )  # fmt: skip
    randomised(net).eval()
    x = torch.randn(2, 8, 10, 9)
    expected, before = net(x), convfold.explain(net, (x,)).before.macs
    convfold.fold_(net, x)
    assert close(net(x), expected)
    assert convfold.explain(net, (x,)).before.macs <= before
    assert convfold.unfold_(net)(x).equal(expected)


def test_old_checkpoints_become_new_ones_without_planning() -> None:
    """`convert` of fresh weights is what folding them gives."""
    model, x = made()
    folding = convfold.fold_(model, x)
    other = made(seed=5)[0]
    with torch.no_grad():
        expected = other(x)["y"]
    converted = folding.convert(other.state_dict())
    again = convfold.fold_(other, x)
    assert converted.keys() == model.state_dict().keys() == again.model.state_dict().keys()
    assert all(close(t.double(), converted[name].double()) for name, t in other.state_dict().items())
    model.load_state_dict(converted)
    with torch.no_grad():
        assert close(model(x)["y"], expected)
    with pytest.raises(InvalidInput, match=r"lacks 'blocks\.0\.a\.weight'"):
        folding.convert({name: t for name, t in other.state_dict().items() if name != "blocks.0.a.weight"})


def test_every_weight_says_what_it_was_made_of() -> None:
    model, x = made()
    before = model.state_dict().keys()
    weights = convfold.fold_(model, x).weights
    assert weights.keys() == model.state_dict().keys()
    assert {of for names in weights.values() for of in names} <= before
    assert {"head.0.weight", "head.1.running_var"} <= {*weights["head.0.weight"]}
    assert weights["stem.weight"] == ("stem.weight",)
    (kernel,) = (of for name, of in weights.items() if name.startswith("blocks.0") and "weight" in name)
    assert {"blocks.0.a.weight", "blocks.0.n.running_mean", "blocks.0.nb.bias"} <= {*kernel}


def test_a_copy_is_folded_in_place() -> None:
    model, x = made()
    folding = convfold.fold(model, x, keep="modules")
    assert type(model.blocks[0]) is Rep and isinstance(folding.model, Net) and len(folding.places) == 3
    with torch.no_grad():
        assert close(folding.model(x)["y"], model(x)["y"])
    with pytest.raises(InvalidInput, match="keep='module' is not known"):
        convfold.fold(model, x, keep="module")
    with pytest.raises(InvalidInput, match=r"takes an nn\.Module"):
        convfold.fold("model.onnx", keep="modules")


def test_modules_are_kept_apart_to_a_depth() -> None:
    model, x = made()
    folding = convfold.fold_(model, x, depth=2)
    assert {place.path for place in folding.places if isinstance(place, Folded)} == {"blocks.0", "blocks.1"}
    assert any(isinstance(place, Merged) for place in folding.places)
    convfold.unfold_(model)
    with pytest.raises(InvalidInput, match="depth=-1"):
        convfold.fold_(model, x, depth=-1)


class Chaotic(Net):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"y": torch.frac(1e8 * super().forward(x)["y"])}


def test_a_model_that_loses_its_numbers_is_judged_by_its_parts() -> None:
    model = randomised(Chaotic(), 0).eval()
    x = torch.randn(2, 3, 16, 12)
    with torch.no_grad():
        before = model(x)["y"]
        folding = convfold.fold_(model, x)
        assert len(folding.places) == 3 and not close(model(x)["y"], before)
