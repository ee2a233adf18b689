"""Real architectures, small: folded, the same function, never dearer, and still a module like any other."""

from __future__ import annotations

import copy
import io
import json
import pickle

import pytest
import torch
from torch.utils import _pytree as pytree

import convfold
import zoo
from benchmarks.leftover import leftover
from benchmarks.record import FOLDER

MODELS = [name for name in zoo.names() if name.startswith("tiny-")] + ["dbb", "ecb", "expanded-linear", "ten-branch"]
#: Batch norms that may stay: they read the inputs or a concat with a reader before it, and a ReLU reads them.
STAY = {"tiny-densenet-transition": 2, "tiny-densenet": 5}


#: Recorded by `benchmarks.plans`, which holds every network of the zoo against them: a plan that changes is seen.
PLANS = json.loads((FOLDER / "plans.json").read_text())


def leaves(outputs: object) -> list[torch.Tensor]:
    return [y for y in pytree.tree_leaves(outputs) if isinstance(y, torch.Tensor)]


@pytest.mark.parametrize("name", MODELS)
def test_folds_to_the_same_function(name: str) -> None:
    case = zoo.build(name)
    before = {k: v.clone() for k, v in case.model.state_dict().items()}
    result = convfold.fold(case.model, case.args, case.kwargs)
    report = result.report
    error = report.error
    assert error is not None and error.passed
    assert error.error <= 2 * error.own_error + torch.finfo(torch.float32).eps, str(error)
    figures = {key: [getattr(side, key) for side in (report.before, report.after)] for key in ("macs", "ops")}
    assert figures == {key: PLANS[name]["time"][key] for key in figures}
    assert report.after.macs <= report.before.macs
    assert report.after.ops <= report.before.ops or report.after.macs < report.before.macs
    assert report.after.batch_norms <= STAY.get(name, 0)
    left = leftover(result.module, case.args)
    assert not left.norms and not left.scales
    assert all(torch.equal(v, before[k]) for k, v in case.model.state_dict().items())
    assert not any(p.data_ptr() == q.data_ptr() for p in result.module.parameters() for q in case.model.parameters())


@pytest.mark.parametrize("name", ["tiny-repvgg", "tiny-levit", "tiny-sesr", "tiny-segformer"])
def test_the_result_is_a_module_like_any_other(name: str) -> None:
    case = zoo.build(name)
    result = convfold.fold(case.model, case.args, case.kwargs)
    module = result.module
    expected = leaves(module(*case.args))
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert all(map(torch.equal, leaves(twin(*case.args)), expected))
    compiled = torch.compile(module, backend="aot_eager")
    for got, y in zip(leaves(compiled(*case.args)), expected, strict=True):
        torch.testing.assert_close(got, y)
    state = io.BytesIO()
    torch.save(module.state_dict(), state)
    state.seek(0)
    module.load_state_dict(torch.load(state, weights_only=True))
    again = convfold.fold(module, case.args, case.kwargs)
    assert not again.report.changed and again.report.after == result.report.after
    module.train()
    sum(y.square().mean() for y in leaves(module(*case.args))).backward()
    trained = [p for p in module.parameters() if p.requires_grad]
    assert trained and all(p.grad is not None for p in trained)


@pytest.mark.parametrize("name", ["tiny-fastvit", "tiny-ghostnetv3", "tiny-repvit"])
def test_never_dearer_than_merged_by_hand(name: str) -> None:
    case = zoo.build(name)
    by_hand = zoo.merged_by_hand(case.model)
    report = convfold.explain(case.model, case.args, config=convfold.FoldConfig(objective="macs"))
    expected = zoo.count(by_hand, case.args)
    assert report.after.macs <= expected.macs < report.before.macs == zoo.count(case.model, case.args).macs
    assert report.after.layers <= expected.layers
    model, args = case.model.double(), [x.double() for x in case.args]
    torch.testing.assert_close(zoo.merged_by_hand(model)(*args), model(*args), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "macs", "parameters"),
    [
        ("densenet-121", 2.83e9, 7.98e6),
        ("fastvit-sa12", 1.93e9, 11.58e6),
        ("fastvit-t8", 0.69e9, 4.03e6),
        ("ghostnetv3", 167e6, 8.13e6),
        ("poolformer-s12", 1.81e9, 11.92e6),
        ("repvit-m0.9", 0.82e9, 5.49e6),
        ("yolo-small", 8.25e9, 7.24e6),
    ],
)
def test_of_the_size_published(name: str, macs: float, parameters: float) -> None:
    """Multiply-adds merged by hand, as the papers count; parameters as trained. Shapes only, no weights."""
    builder, shapes = zoo.own.MODELS[name]
    with torch.device("meta"):
        model, args = builder().eval(), tuple(torch.empty(shape) for shape in shapes)
        assert zoo.count(zoo.merged_by_hand(model), args).macs == pytest.approx(macs, rel=0.01)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=0.01)


def test_saved_and_read_again(tmp_path) -> None:
    case = zoo.build("tiny-repvgg")
    result = convfold.fold(case.model, case.args)
    result.save(tmp_path / "folded.pt2")
    again = convfold.fold(tmp_path / "folded.pt2")
    assert not again.report.changed
    assert again.report.free == result.report.free
    x = torch.randn(3, *case.args[0].shape[1:])
    torch.testing.assert_close(again.module(x), result.module(x))
    assert [p.name for p in tmp_path.iterdir()] == ["folded.pt2"]
