"""A file runs no code: nor does what its program says, where torch makes Python, look-ups and imports of strings."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.utils import _pytree as pytree

import convfold
from convfold.frontends.torch.archive import load
from convfold.frontends.torch.words import RULES
from tests.folding import noise
from tests.traps.files import reworded, rewritten, save_net


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_net(tmp_path_factory.mktemp("files") / "net.pt2")


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Made by a call of `mkdir`, or of importing the module `lying_about`."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lying_about.py").write_text(f"import os; os.mkdir({str(tmp_path / 'marker')!r})\n")
    yield tmp_path / "marker"
    sys.modules.pop("lying_about", None)


def graph(said: Any) -> Any:
    return said["graph_module"]["graph"]


def signature(said: Any) -> Any:
    return said["graph_module"]["module_call_graph"][0]["signature"]


def node(target: str, *arguments: dict[str, Any], names: tuple[str, ...] = ()) -> dict[str, Any]:
    named = [{"name": name, "arg": arg, "kind": 1} for name, arg in zip(names or [""] * 9, arguments, strict=False)]
    return {"target": target, "inputs": named, "outputs": [{"as_none": True}], "metadata": {}, "name": "made"}


def resized(said: Any, code: str) -> None:
    graph(said)["tensor_values"]["x"]["sizes"][0]["as_expr"]["expr_str"] = code


def renamed(said: Any, old: str, new: str) -> None:
    """Wherever the name is said."""
    text = json.dumps(said).replace(json.dumps(old), json.dumps(new))
    said.clear()
    said.update(json.loads(text))


def spec(kind: str, context: Any, *children: Any) -> dict[str, Any]:
    return {"type": kind, "context": context, "children_spec": list(children)}


LEAF = {"type": None, "context": None, "children_spec": []}


def called_with(said: Any, context: str, positional: str = "null") -> None:
    kwargs = spec("builtins.dict", context, LEAF)
    tree = spec("builtins.tuple", "null", spec("builtins.tuple", positional, LEAF), kwargs)
    signature(said)["in_spec"] = json.dumps([1, tree])


def gives(said: Any, tree: Any) -> None:
    signature(said)["out_spec"] = json.dumps([1, tree])


ENUM = json.dumps({"__enum__": True, "fqn": "lying_about:Kind", "name": "A"})
NESTED = json.dumps({"__enum__": True, "fqn": "enum:Enum", "name": json.loads(ENUM)})
FACTORY = {"default_factory_module": "lying_about", "default_factory_name": "list", "dict_context": ["y"]}

#: What is made to say so, how, and what the line says. CODE makes the marker, MARKER is its path, both quoted with ".
SAYS: dict[str, tuple[Callable[[Any, str, str], None], str]] = {
    "a size": (lambda s, code, m: resized(s, code), "for SymExpr.expr_str, which is no expression of sizes"),
    "a size among others": (lambda s, code, m: resized(s, f"Add(Integer(1), {code})"), "no expression of sizes"),
    "a size of words": (lambda s, code, m: resized(s, f"Add({code!r})"), "no expression of sizes"),
    "a size with a subscript": (lambda s, code, m: resized(s, f"[{code}][0]"), "no expression of sizes"),
    "a size and a lambda": (lambda s, code, m: resized(s, f"(lambda: {code})()"), "no expression of sizes"),
    "a function of Python's": (
        lambda s, code, m: graph(s)["nodes"].append(node("torch.os.mkdir", {"as_string": m})),
        "'torch.os.mkdir' for Node.target, an operator that is not known here",
    ),
    "a function that calls": (
        lambda s, code, m: graph(s)["nodes"].append(node("_operator.call", {"as_string": m})),
        "'_operator.call' for Node.target, an operator that is not known here",
    ),
    "an operator that writes a file": (
        lambda s, code, m: graph(s)["nodes"].append(
            node("torch.ops.aten.from_file.default", {"as_string": m}, {"as_bool": True}, {"as_int": 4},
                 names=("filename", "shared", "size"))
        ),
        "'torch.ops.aten.from_file.default' for Node.target, an operator that opens files",
    ),
    "an operator whose operands are code": (
        lambda s, code, m: graph(s)["nodes"].append(node("torch.ops.higher_order.invoke_leaf_function")),
        "an operator whose operands may be code",
    ),
    "an operand": (
        lambda s, code, m: graph(s)["nodes"].append(
            node("torch.ops.higher_order.with_effects", {"as_operator": "torch.os.mkdir"})
        ),
        "'torch.os.mkdir' for Argument.as_operator, an operator that is not known here",
    ),
    "the name of a value": (lambda s, code, m: renamed(s, "mul", f"x[{code} or 0:]"), "which is no name"),
    "the name of an argument": (
        lambda s, code, m: signature(s)["forward_arg_names"].append(f"z={code}"),
        "for ModuleCallSignature.forward_arg_names, which is no name",
    ),
    "a keyword": (
        lambda s, code, m: called_with(s, json.dumps([f"a':[{code}, 0][1], 'scale"])),
        "for ModuleCallSignature.in_spec, which names an argument as none is called",
    ),
    "an Enum among inputs": (lambda s, code, m: called_with(s, '["scale"]', " " + ENUM), "asks for lying_about:Kind"),
    "an Enum in an Enum": (lambda s, code, m: called_with(s, '["scale"]', NESTED), "asks for lying_about:Kind"),
    "a default among outputs": (
        lambda s, code, m: gives(s, spec("collections.defaultdict", FACTORY, LEAF)),
        "asks for lying_about.list",
    ),
    "a class among outputs": (
        lambda s, code, m: gives(s, spec("lying_about.Kind", "null", LEAF)),
        "a container lying_about.Kind that is not registered here",
    ),
    "the path of a weight": (
        lambda s, code, m: renamed(s, "conv.weight", f'conv.weight"+{code}+"'),
        "for InputToParameterSpec.parameter_name, which is no path of a weight",
    ),
    "the path of something else": (
        lambda s, code, m: renamed(s, "conv.weight", "conv.__class__.forward"),
        "which is no path of a weight",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAYS)
def test_what_a_program_says_is_not_run(name: str, net: Path, marker: Path, tmp_path: Path) -> None:
    edit, said = SAYS[name]
    code = f'__import__("os").mkdir({json.dumps(str(marker))})'
    bad = reworded(net, tmp_path / "bad.pt2", lambda s: edit(s, code, str(marker)))
    with pytest.raises(convfold.InvalidInput) as e:
        convfold.fold(bad)
    assert f"{bad}: member models/model.json has " in str(e.value) and said in str(e.value)
    assert not marker.exists() and "lying_about" not in sys.modules


def test_guards_are_not_run(net: Path, marker: Path, tmp_path: Path) -> None:
    """They are Python. The sizes they guard are refused by a check of our own."""
    code = f'__import__("os").mkdir({json.dumps(str(marker))})'
    path = reworded(net, tmp_path / "net.pt2", lambda said: said.update(guards_code=[code]))
    program = load(path)
    program.module()(*program.example_inputs[0], **program.example_inputs[1])
    result = convfold.fold(path)
    assert not marker.exists()
    with pytest.raises(convfold.InvalidInput, match=r"'x': expected shape \(any, 3, 7, 6\), got \(2, 3, 7, 5\)"):
        result.module(noise(2, 3, 7, 5), scale=noise(4, 1, 1))


def test_words_in_place_of_numbers(net: Path, tmp_path: Path) -> None:
    """torch's reader takes what is there, and hands it on to sympy, to the graph's source, to sizes."""
    sizes = lambda said: graph(said)["tensor_values"]["x"]["sizes"]  # noqa: E731
    for edit, field in (
        (lambda said: sizes(said)[1].update(as_int="3"), "'3' for SymInt.as_int"),
        (lambda said: sizes(said)[1].update(as_int=True), "'True' for SymInt.as_int"),
        (lambda said: sizes(said)[0]["as_expr"]["hint"].update(as_int="2"), "'2' for SymExprHint.as_int"),
        (lambda said: sizes(said)[1].update(as_expr=None), ".*'as_expr': None.* for TensorMeta.sizes"),
        (lambda said: said["range_constraints"]["s77"].update(min_val="2"), "'2' for RangeConstraint.min_val"),
        (lambda said: graph(said).update(nodes={}), "'{}' for Graph.nodes"),
        (lambda said: graph(said)["tensor_values"]["x"].update(dtype=99), "'99' for TensorMeta.dtype"),
    ):
        bad = reworded(net, tmp_path / "bad.pt2", edit)
        with pytest.raises(convfold.InvalidInput, match=f"member models/model.json has {field}"):
            load(bad)


def test_an_operator_that_nobody_registered(net: Path, tmp_path: Path) -> None:
    bad = reworded(
        net, tmp_path / "bad.pt2", lambda said: graph(said)["nodes"][0].update(target="torch.ops.mine.twist.default")
    )
    with pytest.raises(
        convfold.InvalidInput, match=r"'torch\.ops\.mine\.twist\.default'.*import what registers it first"
    ):
        load(bad)


def test_weights_that_are_told_wrong(net: Path, tmp_path: Path) -> None:
    config = "data/weights/model_weights_config.json"
    meta = lambda said: said["config"]["conv.weight"]  # noqa: E731
    for edit, words in (
        (lambda said: meta(said)["tensor_meta"]["sizes"][0].update(as_int=40), "out of bounds"),
        (lambda said: meta(said)["tensor_meta"].update(dtype=99), "'99' for TensorMeta.dtype"),
        (lambda said: meta(said).update(path_name="weight_77"), "has no member data/weights/weight_77"),
        (lambda said: meta(said).update(path_name="../../models/model.json"), "has no member"),
        (lambda said: meta(said).update(tensor_meta=None), "weight_0 is a tensor of no size"),
        (lambda said: meta(said).update(use_pickle=True), "weight_0 is not what torch.save writes"),
        (lambda said: said["config"].update({'a"b': meta(said)}), "which is no path of a weight"),
    ):
        with pytest.raises(convfold.InvalidInput, match=words):
            load(reworded(net, tmp_path / "bad.pt2", edit, config))
    with pytest.raises(convfold.InvalidInput, match=r"weight_0 gives no torch\.float64 of size \(4, 3, 3, 2\)"):
        load(rewritten(net, tmp_path / "bad.pt2", {"data/weights/weight_0": b""}))


def test_compiled_code_is_not_loaded(net: Path, tmp_path: Path) -> None:
    bad = rewritten(net, tmp_path / "bad.pt2", {"data/aotinductor/model/wrapper.so": b"\x7fELF"})
    with pytest.raises(convfold.InvalidInput, match=r"member data/aotinductor/model/wrapper\.so is compiled code"):
        load(bad)


class Says(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function, self.conv = function, nn.Conv2d(3, 3, (3, 2), padding=(1, 0))
        self.register_buffer("seen", torch.ones(3, 1, 1))

    def forward(self, *given: Any) -> Any:
        return self.function(self, *given)


def without_grad(m: Says, x: Tensor) -> Tensor:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        return m.conv(x)


SAID: dict[str, Callable[..., Any]] = {
    "sizes": lambda m, x: nn.functional.interpolate(m.conv(x), scale_factor=1.5)[:, :, 1::3],
    "sizes of pools": lambda m, x: nn.functional.avg_pool2d(m.conv(x), 3, 2, ceil_mode=True).flatten(2).mean(-1),
    "infinity": lambda m, x: nn.functional.pad(m.conv(x), (1, 2), value=float("-inf")),
    "a branch": lambda m, x: torch.cond(x.sum() > 0, lambda x: m.conv(x) + 1, lambda x: m.conv(x) * 2, (x,)),
    "vmap": lambda m, x: torch.vmap(lambda one: one * m.seen)(x),
    "contexts": without_grad,
    "einsum": lambda m, x: torch.einsum("bchw,cd->bdhw", m.conv(x), m.conv.weight[:, :, 0, 0]),
    "complex": lambda m, x: torch.fft.rfft2(m.conv(x)) * torch.tensor(1 + 2j),
    "a mask": lambda m, x: x[x > 0].sum(),
    "its buffer": lambda m, x: m.seen.add_(1) + m.conv(x),
    "shared weights": lambda m, x: m.conv(x)[..., 1:] * m.conv.weight.flatten()[:3, None, None],
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
def test_what_programs_do_say_is_read_as_torch_reads_it(name: str, tmp_path: Path) -> None:
    free = {0: Dim.AUTO} | ({2: Dim.AUTO, 3: Dim.AUTO} if "sizes" in name else {})
    program = torch.export.export(Says(SAID[name]), (torch.randn(2, 3, 7, 6),), dynamic_shapes={"given": (free,)})
    torch.export.save(program, tmp_path / "net.pt2")
    ours, torchs = load(tmp_path / "net.pt2"), torch.export.load(tmp_path / "net.pt2")
    assert ours.graph_module.code == torchs.graph_module.code
    assert str(ours.range_constraints) == str(torchs.range_constraints) and ours.call_spec == torchs.call_spec
    for a, b in ((ours.state_dict, torchs.state_dict), (ours.constants, torchs.constants)):
        assert list(a) == list(b)
        for x, y in zip(a.values(), b.values(), strict=True):
            assert torch.equal(x, y) and type(x) is type(y) and x.stride() == y.stride()
            assert x.requires_grad == y.requires_grad and x.is_leaf
    assert all(map(torch.equal, pytree.tree_leaves(ours.example_inputs), pytree.tree_leaves(torchs.example_inputs)))


SIZES = """
s0
2*s0 + 1
-s0
Mul(Integer(2), Symbol('s77', positive=True, integer=True))
FloorDiv(Add(Symbol('s0'), Integer(-1)), Integer(2))
Float('1.5e-05', precision=53)
Pow(Symbol('s0'), Rational(1, 2))
Max(Integer(0), Mod(Symbol('u0'), Integer(3)))
GreaterThan(Symbol('s0'), Integer(2))
OpaqueUnaryFn_sqrt(Symbol('s1'))
"""
NO_SIZES = """
eval('1')
s0.x
s0[0]
f'{s0}'
(s0 := 1)
lambda: 1
print(1)
Add(*s0)
Symbol('a b')
Symbol('s', **s0)
Add('open(1)')
Add('s.x')
x if y else z
{s0}
[s0]
ｅval(1)
s0 +
b's0'
"""


def test_expressions() -> None:
    """As torch prints them and did before, and what is none."""
    rule = RULES["expr_str"]
    for text in SIZES.strip().splitlines():
        assert rule(text) is None, text
    for text in NO_SIZES.strip().splitlines():
        assert rule(text) == "which is no expression of sizes", text
