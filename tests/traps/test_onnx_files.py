"""ONNX files that are damaged, none at all, or claim what is not so: one line; their weights: inside the folder."""

from __future__ import annotations

import json
import os
import random
import socket
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import convfold
from convfold.atomic import replacing
from convfold.frontends.onnx.files import load, load_bytes
from tests.frontends.onnx.models import CONV, NET, NORM, array, assert_same, feeds_of, kinds, model


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return tmp_path / "bad.onnx"


def refused(path: Path, *said: str) -> None:
    """One line, with these words."""
    with pytest.raises(convfold.InvalidInput) as e:
        convfold.fold(path)
    for words in (f"{path}: ", *said):
        assert words in str(e.value), str(e.value)
    assert "\n" not in str(e.value)


# --- no file, no model -----------------------------------------------------------------------------------------------


def test_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "loop.onnx").symlink_to("loop.onnx")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "empty.onnx").touch()
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("socket.onnx")
        for read in (load, convfold.fold):
            with pytest.raises(convfold.InvalidInput):
                read(Path("socket.onnx"))
    for name, said in {
        "pipe": "is no regular file",
        "folder": "is a directory",
        "gone": "no such file",
        "loop": "cannot be read: ",
        "n" * 300: "File name too long",
    }.items():
        refused(tmp_path / f"{name}.onnx", said)
        with pytest.raises(convfold.InvalidInput, match=said):
            load(tmp_path / f"{name}.onnx")
    refused(tmp_path / "empty.onnx", "is empty")
    with pytest.raises(convfold.InvalidInput, match="embedded null byte"):
        load(Path("a\0b.onnx"))
    with pytest.raises(convfold.InvalidInput, match="no such file"):
        load(tmp_path / "pipe.onnx" / "net.onnx")


def test_larger_than_a_protobuf_can_be(bad: Path) -> None:
    with bad.open("wb") as file:
        file.truncate(3 << 30)
    refused(bad, "larger than 2 GB")


def test_no_model(bad: Path) -> None:
    m = model(NET)
    for content, said in {
        b"not a model at all": "damaged or cut short",
        b"\x80\x02ctorch\n": "is no ONNX model",
        m.graph.SerializeToString(): "is no ONNX model",
        m.graph.initializer[0].SerializeToString(): "is no ONNX model",
        b"\x08\x08": "no graph inside",
        b"\0" * 100: "is no ONNX model",
    }.items():
        bad.write_bytes(content)
        refused(bad, said)


def test_cut_short(bad: Path) -> None:
    data = model(NET).SerializeToString()
    for length in range(1, len(data), len(data) // 40):
        bad.write_bytes(data[:length])
        refused(bad)


# --- models that are none --------------------------------------------------------------------------------------------


def changed(change: Callable[[onnx.ModelProto], Any]) -> onnx.ModelProto:
    m = model(NET)
    change(m)
    return m


def _cyclic(m: onnx.ModelProto) -> None:
    m.graph.node[0].input[0] = "z"
    m.graph.node.append(helper.make_node("Relu", ["y"], ["z"]))


def _sizes(*dims: int, **content: Any) -> Callable[[onnx.ModelProto], None]:
    """Of a weight that is float and 5 long."""

    def change(m: onnx.ModelProto) -> None:
        t = m.graph.initializer[1]
        del t.dims[:]
        t.dims.extend(dims)
        for name, value in content.items():
            t.ClearField("raw_data")
            getattr(t, name).extend(value)

    return change


def _opset(version: int, ir: int = 8) -> Callable[[onnx.ModelProto], None]:
    def change(m: onnx.ModelProto) -> None:
        m.opset_import[0].version, m.ir_version = version, ir

    return change


def _sparse(dims: list[int], at: list[int]) -> Callable[[onnx.ModelProto], None]:
    def change(m: onnx.ModelProto) -> None:
        values = numpy_helper.from_array(np.ones(len(at), np.float32), "sparse")
        m.graph.sparse_initializer.append(
            helper.make_sparse_tensor(values, numpy_helper.from_array(np.array(at, np.int64)), dims)
        )

    return change


BAD: dict[str, tuple[Callable[[onnx.ModelProto], Any], str]] = {
    "no opset": (lambda m: m.ClearField("opset_import"), "imports no opset"),
    "other opsets": (lambda m: setattr(m.opset_import[0], "domain", "own"), "'ai.onnx', which is not imported"),
    "two opsets": (lambda m: m.opset_import.add(domain="ai.onnx", version=7), "imports two opsets"),
    "old opset": (_opset(6), "opset 6; those from 7 on are read. Upgrade it first: onnx.version_converter"),
    "new opset": (_opset(99), "opset 99; the installed onnx"),
    "no IR version": (lambda m: m.ClearField("ir_version"), "names no IR version"),
    "IR version 0": (_opset(17, 0), "names no IR version"),
    "old IR version": (_opset(17, 2), "IR version 2; those from 3"),
    "new IR version": (_opset(17, 99), "IR version 99; the installed onnx"),
    "cyclic": (_cyclic, "is cyclic: Conv 'c' reads what is computed from its own output"),
    "itself": (lambda m: m.graph.node[0].input.__setitem__(0, "c"), "is cyclic"),
    "dangling": (lambda m: m.graph.node[0].input.__setitem__(1, "gone"), "Conv 'c' reads 'gone', which nothing comp"),
    "no output": (lambda m: setattr(m.graph.output[0], "name", "gone"), "output 'gone' is computed by nothing"),
    "two of a name": (lambda m: m.graph.node[1].output.__setitem__(0, "c"), "two values are called 'c'"),
    "two weights": (lambda m: setattr(m.graph.initializer[1], "name", "w"), "two values are called"),
    "a nameless weight": (lambda m: setattr(m.graph.initializer[1], "name", ""), "a value without a name"),
    "two inputs": (lambda m: m.graph.input.append(m.graph.input[0]), "two values are called 'x'"),
    "no operator": (lambda m: m.graph.node[0].ClearField("op_type"), "names no operator"),
    "an attribute twice": (
        lambda m: m.graph.node[0].attribute.extend([helper.make_attribute("group", 1)] * 2),
        "has the attribute 'group' twice",
    ),
    "an attribute of no type": (
        lambda m: m.graph.node[0].attribute.add(name="group", i=1),
        "attribute 'group' has no type",
    ),
    "an attribute of another type": (
        lambda m: m.graph.node[0].attribute.add(name="group", i=1, type=onnx.AttributeProto.GRAPH),
        "is said to hold 'g' and holds i",
    ),
    "an attribute of no function": (
        lambda m: m.graph.node[0].attribute.add(name="group", ref_attr_name="g", type=onnx.AttributeProto.INT),
        "refers to one of a function",
    ),
    "a negative size": (_sizes(-5), "negative size"),
    "longer than stored": (_sizes(6), "needs 24 bytes and has 20"),
    "shorter than stored": (_sizes(4), "needs 16 bytes and has 20"),
    "terabytes": (_sizes(1 << 40), "needs 4398046511104 bytes and has 20"),
    "beyond counting": (_sizes(1 << 40, 1 << 40), "claims more elements than can be counted"),
    "too many axes": (_sizes(*[1] * 65), "has 65 axes"),
    "numbers that lack": (_sizes(1 << 40, float_data=[1, 2, 3]), "needs 1099511627776 numbers and has 3"),
    "numbers of another type": (_sizes(3, int64_data=[1, 2, 3]), "is FLOAT and has its numbers in int64_data"),
    "no numbers": (lambda m: m.graph.initializer[1].ClearField("raw_data"), "needs 5 numbers and has 0"),
    "no type": (lambda m: m.graph.initializer[1].ClearField("data_type"), "is of a type, 0"),
    "an unknown type": (lambda m: setattr(m.graph.initializer[1], "data_type", 77), "is of a type, 77"),
    "segments": (lambda m: m.graph.initializer[1].segment.SetInParent(), "stored in segments"),
    "an input of negative size": (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", -3),
        "'x' has a negative size",
    ),
    "an input beyond counting": (
        lambda m: [setattr(d, "dim_value", 1 << 40) for d in m.graph.input[0].type.tensor_type.shape.dim],
        "claims more elements than can be counted",
    ),
    "an input of no known type": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 77),
        "'x' is of a type, 77",
    ),
    "sparse and huge": (_sparse([1 << 20, 1 << 20], [3]), "more than 256 MB of numbers when dense"),
    "sparse beyond": (_sparse([2, 2], [4]), "has indices beyond them"),
    "training": (lambda m: m.training_info.add(), "carries training information"),
    "external from memory": (
        lambda m: (
            setattr(m.graph.initializer[0], "data_location", TensorProto.EXTERNAL),
            m.graph.initializer[0].external_data.add(key="location", value="/etc/passwd"),
        ),
        "lies in ",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_model(name: str, bad: Path) -> None:
    change, said = BAD[name]
    m = changed(change)
    bad.write_bytes(m.SerializeToString())
    refused(bad, said)
    with pytest.raises(convfold.InvalidInput, match="the model: "):
        load_bytes(m.SerializeToString())
    with pytest.raises(convfold.InvalidInput, match="the model: "):
        convfold.fold(m)


def test_what_claims_much_takes_nothing(bad: Path) -> None:
    for name in ("terabytes", "beyond counting", "numbers that lack", "sparse and huge"):
        bad.write_bytes(changed(BAD[name][0]).SerializeToString())
        tracemalloc.start()
        with pytest.raises(convfold.InvalidInput):
            load(bad)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()


def test_a_name_that_is_no_text(bad: Path) -> None:
    data = model(NET.replace("(c,", "(cccc,").replace("c = ", "cccc = ")).SerializeToString()
    bad.write_bytes(data.replace(b"cccc", b"cc\xff\xfe"))
    refused(bad, "is damaged: a name in it is no text")


def test_functions_that_call_themselves(bad: Path) -> None:
    m = model(f"g (float[N,3,9,8] x) => (float[N,5,P,Q] y) {{ {CONV} {NORM} }}", more=', "own" : 1')
    f = helper.make_function("own", "f", ["a"], ["b"], [helper.make_node("f", ["a"], ["b"], domain="own")],
                             [helper.make_opsetid("own", 1)])  # fmt: skip
    m.functions.append(f)
    bad.write_bytes(m.SerializeToString())
    refused(bad, "a function 'f' that calls itself")
    m.functions[0].node[0].op_type = "other"
    m.functions.append(f)
    bad.write_bytes(m.SerializeToString())
    refused(bad, "has two functions 'f'")


# --- weights beside the model ----------------------------------------------------------------------------------------


def save(folder: Path, name: str = "net.onnx", location: str = "weights.bin", large: bool = False) -> Path:
    """The net with all weights in one file beside it, or below."""
    folder.mkdir(exist_ok=True)
    m = model(NET.replace("3,9,8", "32,9,8"), w=(5, 32, 3, 2)) if large else model(NET)
    (folder / location).parent.mkdir(exist_ok=True)
    at = 0
    with (folder / location).open("wb") as file:
        for t in m.graph.initializer:
            for key, value in {"location": location, "offset": at, "length": len(t.raw_data)}.items():
                t.external_data.add(key=key, value=str(value))
            at += file.write(t.raw_data)
            t.ClearField("raw_data")
            t.data_location = TensorProto.EXTERNAL
    (folder / name).write_bytes(m.SerializeToString())
    return folder / name


def told(path: Path, **changes: str | None) -> Path:
    """The first weight is said to lie elsewhere."""
    m = onnx.load(path, load_external_data=False)
    t = m.graph.initializer[0]
    kept = {e.key: e.value for e in t.external_data} | changes
    del t.external_data[:]
    for key, value in kept.items():
        if value is not None:
            t.external_data.add(key=key, value=value)
    path.write_bytes(m.SerializeToString())
    return path


def test_weights_beside_and_below(tmp_path: Path) -> None:
    for location in ("weights.bin", "data/weights.bin", "./weights.bin"):
        path = save(tmp_path / "in", location=location, large=True)
        convfold.fold(path).save(tmp_path / "out.onnx")
        assert_same(path, tmp_path / "out.onnx", feeds_of(onnx.load(path)), 1e-5)
        assert kinds(onnx.load(tmp_path / "out.onnx")) == {"Conv": 1}
    assert (tmp_path / "out.onnx.data").exists() and not list(tmp_path.glob(".convfold*"))


def test_in_the_folder_it_is_run_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path)
    monkeypatch.chdir(tmp_path)
    result = convfold.fold("net.onnx")
    monkeypatch.chdir("/")
    result.save(tmp_path / "out.onnx")
    assert kinds(onnx.load(tmp_path / "out.onnx")) == {"Conv": 1}


def test_over_itself(tmp_path: Path) -> None:
    path = save(tmp_path, location="net.onnx.data", large=True)
    feeds, before = feeds_of(onnx.load(path)), onnx.load(path)
    convfold.fold(path).save(path)
    assert_same(before, path, feeds, 1e-5)
    folded = path.read_bytes(), (tmp_path / "net.onnx.data").read_bytes()
    convfold.fold(path).save(path)
    assert folded == (path.read_bytes(), (tmp_path / "net.onnx.data").read_bytes())


def test_shards(tmp_path: Path) -> None:
    body = "c = Conv(x, w) n = BatchNormalization(c, s, b, m, v) r = Relu(n) d = Conv(r, k) e = Relu(d) y = Conv(e, l)"
    m = model(f"g (float[N,3,9,8] x) => (float[N,32,P,Q] y) {{ {body} }}",
              w=(32, 3, 3, 2), k=(32, 32, 1, 1), l=(32, 32, 1, 1), s=(32,), b=(32,), m=(32,), v=(32,))  # fmt: skip
    convfold.fold(m).save(tmp_path / "net.onnx", shard=5000)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["net.onnx", *(f"net.onnx-{i:05d}-of-00003.data" for i in (1, 2, 3))]
    assert_same(m, tmp_path / "net.onnx", feeds_of(m), 1e-5)
    convfold.fold(tmp_path / "net.onnx").save(tmp_path / "one.onnx")
    assert_same(m, tmp_path / "one.onnx", feeds_of(m), 1e-5)
    assert (tmp_path / "one.onnx.data").stat().st_size == sum(p.stat().st_size for p in tmp_path.glob("net*.data"))


def test_nothing_is_left_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path, location="net.onnx.data", large=True)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    result = convfold.fold(path)

    def fails(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(convfold.InvalidInput, match="No space left on device"):
        result.save(path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"location": "gone.bin"}, "gone.bin, which is not there"),
        ({"location": "/etc/passwd"}, "is not below the model's folder"),
        ({"location": "../secret.bin"}, "is not below the model's folder"),
        ({"location": "data/../../secret.bin"}, "is not below the model's folder"),
        ({"location": "data/./weights.bin"}, "is not below the model's folder"),
        ({"location": "..\\secret.bin"}, "is not below the model's folder"),
        ({"location": "data"}, "is no regular file"),
        ({"location": "weights.bin/"}, "is not below the model's folder"),
        ({"location": "weights.bin/more"}, "is no folder"),
        ({"location": ""}, "does not say in which"),
        ({"location": None}, "does not say in which"),
        ({"location": "link.bin"}, "which is a link"),
        ({"location": "inner.bin"}, "which is a link"),
        ({"location": "linked/secret.bin"}, "which is a link"),
        ({"location": "pipe.bin"}, "is no regular file"),
        ({"location": "hard.bin"}, "a hard link"),
        ({"offset": "100000"}, "which has 440; it is damaged"),
        ({"offset": "-4"}, "its offset in another file is '-4', and no number"),
        ({"offset": "9" * 30}, "and no number"),
        ({"offset": "0x10"}, "and no number"),
        ({"length": "12"}, "needs 360 bytes and has 12"),
        ({"length": None, "offset": "200"}, "is said to be bytes 200 to 560"),
    ],
)
def test_weights_elsewhere(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = save(tmp_path / "in")
    folder = path.parent
    (tmp_path / "secret.bin").write_bytes(bytes(1000))
    (tmp_path / "hard.bin").write_bytes(bytes(1000))
    (folder / "data").mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "inner.bin").symlink_to("weights.bin")
    (folder / "linked").symlink_to(tmp_path, target_is_directory=True)
    os.link(tmp_path / "hard.bin", folder / "hard.bin")
    os.mkfifo(folder / "pipe.bin")
    refused(told(path, **changes), "tensor 'w'", said)


def test_weights_that_are_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a file is root's to make: the look at one is told."""
    path = save(tmp_path)
    seen = Path.lstat

    def device(self: Path) -> os.stat_result:
        found = seen(self)
        return os.stat_result((stat.S_IFCHR | 0o666, *found[1:])) if self.name == "weights.bin" else found

    monkeypatch.setattr(Path, "lstat", device)
    refused(path, "is no regular file")


def test_weights_cut_short(tmp_path: Path) -> None:
    path = save(tmp_path)
    data = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").write_bytes(data[:-1])
    refused(path, "which has 439")
    (tmp_path / "weights.bin").write_bytes(b"")
    refused(path, "which has 0")


# --- damaged anywhere ------------------------------------------------------------------------------------------------

#: Three models, small: a net, a graph in a graph with sparse and typed numbers, a function.
_MODELS = ("net", "branches", "functions")

_CHILD = """
import json, random, resource, sys, warnings, logging
logging.disable(logging.CRITICAL); warnings.simplefilter("ignore")
import convfold
from pathlib import Path
from convfold.frontends.onnx.files import load_bytes
path, first, last, how = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
data = Path(path).read_bytes()
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
counts = {"refused": 0, "taken": 0}
for i in range(first, last):
    chance = random.Random(i)
    flipped = bytearray(data)
    at = chance.randrange(len(data))
    flipped[at] ^= chance.randrange(1, 256) if how == "bytes" else 1 << chance.randrange(8)
    try:
        import onnx
        load_bytes(bytes(flipped))
        Path(path + ".bad.onnx").write_bytes(flipped)
        try:
            convfold.explain(Path(path + ".bad.onnx"))
        except convfold.NotFoldable:
            raise
        counts["taken"] += 1
    except convfold.InvalidInput as e:
        assert "\\n" not in str(e)
        counts["refused"] += 1
    except BaseException as e:
        print(json.dumps({"seed": i, "at": at, "error": f"{type(e).__name__}: {e}"[:300]}), file=sys.stderr)
        raise
status = Path("/proc/self/status").read_text()  # what getrusage says is no less than its parent's
counts["MB"] = int(status.partition("VmHWM:")[2].split()[0]) >> 10
print(json.dumps(counts))
"""


def _small(name: str) -> onnx.ModelProto:
    from tests.frontends.onnx.test_graphs import BOTH, branches, with_functions

    if name == "net":
        return model(NET)
    if name == "functions":
        return with_functions()
    m = branches(*BOTH, w2=(5, 3, 3, 2))
    content = array((5,), 4)
    m.graph.initializer.append(helper.make_tensor("typed", TensorProto.FLOAT, [5], content.tolist()))
    values = numpy_helper.from_array(content[:2], "sparse")
    m.graph.sparse_initializer.append(helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([0, 3])), [5]))
    return m


def _flip(folder: Path, name: str, first: int, last: int, how: str, seconds: int) -> dict[str, int]:
    """In a process of its own: a crash is seen."""
    path = folder / f"{name}.onnx"
    path.write_bytes(_small(name).SerializeToString())
    command = [sys.executable, "-c", _CHILD, str(path), str(first), str(last), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", _MODELS)
def test_flipped(name: str, tmp_path: Path) -> None:
    counts = _flip(tmp_path, name, 0, 100, "bytes", 120)
    assert counts["refused"] + counts["taken"] == 100 and counts["refused"] > 10
    assert counts["MB"] < 2000


@pytest.mark.slow
@pytest.mark.parametrize("name", _MODELS)
def test_flipped_often(name: str, tmp_path: Path) -> None:
    for how in ("bytes", "bits"):
        for first in range(1000, 2667, 556):
            assert _flip(tmp_path, name, first, first + 556, how, 600)["MB"] < 2000


def test_cut_short_or_changed_it_is_whole_or_refused(bad: Path) -> None:
    """Words of the file swapped for one another: still one line, or a model."""
    data = _small("branches").SerializeToString()
    chance = random.Random(0)
    for _ in range(30):
        a, b = sorted(chance.sample(range(len(data)), 2))
        bad.write_bytes(data[:a] + data[b:])
        try:
            load(bad)
        except convfold.InvalidInput as e:
            assert str(e).startswith(f"{bad}: ") and "\n" not in str(e)


def test_replacing_moves_the_weights_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[str] = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: (moved.append(Path(to).name), replace(self, to))[1])
    with replacing(tmp_path / "net.onnx") as temporary:
        for name in ("net.onnx", "net.onnx.data", "a.data"):
            (temporary.parent / name).touch()
    assert moved[-1] == "net.onnx" and len(moved) == 3
