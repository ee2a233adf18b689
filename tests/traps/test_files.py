"""A file runs no code: every member of an archive in turn carries pickles that would, and none is loaded."""

from __future__ import annotations

import ast
import collections
import copyreg
import dataclasses
import io
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from transformers.modeling_outputs import BaseModelOutput

import convfold
from convfold.cli import main
from convfold.frontends.torch.archive import load
from tests.folding import double, noise
from tests.laws.oracle import assert_close
from tests.traps.files import EXTENSION, members, payloads, rewritten, save_net, torch_saved, zipped

SOURCE = Path(convfold.__file__).parent


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_net(tmp_path_factory.mktemp("files") / "net.pt2")


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    copyreg.add_extension("posix", "mkdir", EXTENSION)
    yield tmp_path / "marker"
    copyreg.remove_extension("posix", "mkdir", EXTENSION)


def refused(path: Path, *said: str) -> None:
    """Whoever asks: one line, with these words."""
    with pytest.raises(convfold.InvalidInput) as e:
        convfold.fold(path)
    for words in (str(path), *said):
        assert words in str(e.value)
    assert "\n" not in str(e.value)


def test_the_payloads_are_live(marker: Path) -> None:
    for name, data in payloads(marker).items():
        stream = io.BytesIO(data)
        with pytest.raises((EOFError, pickle.UnpicklingError)):
            while name.startswith("torch.save"):
                torch.load(stream, weights_only=False)
            while True:
                pickle.load(stream)
        assert marker.exists(), name
        marker.rmdir()


def test_every_member_with_every_pickle(net: Path, marker: Path, tmp_path: Path) -> None:
    for member in members(net):
        for name, data in payloads(marker).items():
            refused(rewritten(net, tmp_path / "bad.pt2", {member: data}), f"member {member}")
            assert not marker.exists(), (member, name)


def test_every_member_padded_to_its_size(net: Path, marker: Path, tmp_path: Path) -> None:
    """A weight may be as long as a pickle and zeros."""
    data = payloads(marker)["no end"]
    for member, content in members(net).items():
        if len(content) >= len(data):
            refused(
                rewritten(net, tmp_path / "bad.pt2", {member: data.ljust(len(content), b"\0")}),
                f"member {member} asks for posix.mkdir",
            )
    assert not marker.exists()


def test_members_added_and_renamed(net: Path, marker: Path, tmp_path: Path) -> None:
    data = payloads(marker)
    names = (
        "data/weights/model.pt",
        "data/constants/model.pt",
        "data/constants/custom_obj_0",
        "extra/more",
        "m.bin",
        "x/y",
    )
    for name in (*names, "data/weights/weight_9", "models/other.json", "serialized_state_dict.pt"):
        for how in ("protocol 0", "protocol 2", "torch.save"):
            refused(rewritten(net, tmp_path / "bad.pt2", {name: data[how]}), f"member {name}", "asks for builtins.exec")
    inputs = members(net)["data/sample_inputs/model.pt"]
    moved = {"data/sample_inputs/model.pt": data["torch.save"], "data/sample_inputs/other.pt": inputs}
    refused(
        rewritten(net, tmp_path / "bad.pt2", moved),
        "member data/sample_inputs/model.pt/data.pkl asks for builtins.exec",
    )
    assert not marker.exists()


def test_pickles_deeper_inside(net: Path, marker: Path, tmp_path: Path) -> None:
    inputs = members(net)["data/sample_inputs/model.pt"]
    (tmp_path / "inputs.pt").write_bytes(inputs)
    for member in members(tmp_path / "inputs.pt"):
        for data in payloads(marker).values():
            inner = rewritten(tmp_path / "inputs.pt", tmp_path / "inner.pt", {member: data}).read_bytes()
            bad = rewritten(net, tmp_path / "bad.pt2", {"data/sample_inputs/model.pt": inner})
            refused(bad, f"member data/sample_inputs/model.pt/{member}")
    deep = zipped({"a": zipped({"b": zipped({"data.pkl": payloads(marker)["protocol 2"]})})})
    refused(rewritten(net, tmp_path / "bad.pt2", {"extra/deep": deep}), "an archive in an archive in an archive")
    assert not marker.exists()


def test_the_command_line(net: Path, marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = payloads(marker)["os.mkdir"]
    for member in members(net):
        rewritten(net, tmp_path / "bad.pt2", {member: data})
        result = CliRunner().invoke(main, ["fold", "bad.pt2", "-o", "out.pt2", "--quiet"])
        assert result.exit_code == 1 and result.stdout == ""
        assert re.fullmatch(rf"convfold: error: bad\.pt2: member {member} asks for posix\.mkdir; .*\n", result.stderr)
    assert not marker.exists() and not (tmp_path / "out.pt2").exists()


def test_the_old_layout(net: Path, marker: Path, tmp_path: Path) -> None:
    """Until 2.7 a file was one pickle of weights, one of constants, one of inputs: read still, as carefully."""
    program = load(net)
    now = members(net)
    parts = {
        "version": b"8.8",
        "serialized_exported_program.json": now["models/model.json"],
        "serialized_state_dict.pt": torch_saved(program.state_dict),
        "serialized_constants.pt": torch_saved(program.constants),
        "serialized_example_inputs.pt": now["data/sample_inputs/model.pt"],
    }
    (tmp_path / "old.pt2").write_bytes(zipped(parts, folder=""))
    old = load(tmp_path / "old.pt2")
    for name, value in {**program.state_dict, **program.constants}.items():
        assert torch.equal({**old.state_dict, **old.constants}[name], value)
    for member in parts:
        for data in payloads(marker).values():
            (tmp_path / "bad.pt2").write_bytes(zipped({**parts, member: data}, folder=""))
            refused(tmp_path / "bad.pt2", f"member {member}")
    assert not marker.exists()


@dataclasses.dataclass
class Plain:
    image: Tensor
    scale: float = 2.0


class Pair(NamedTuple):
    image: Tensor
    mask: Tensor


class Own:
    def __init__(self, image: Tensor) -> None:
        self.image = image


class Listed(list[Any]):
    pass


@pytest.fixture
def containers() -> Iterator[None]:
    torch.export.register_dataclass(Plain, serialized_type_name="test.Plain")
    pytree._register_namedtuple(Pair, serialized_type_name="test.Pair")
    pytree.register_pytree_node(
        Own, lambda own: ([own.image], None), lambda parts, _: Own(*parts), serialized_type_name="test.Own",
        flatten_with_keys_fn=lambda own: ([(pytree.GetAttrKey("image"), own.image)], None),
    )  # fmt: skip
    pytree.register_pytree_node(
        Listed, lambda own: (list(own), None), lambda parts, _: Listed(parts), serialized_type_name="test.Listed",
        flatten_with_keys_fn=lambda own: ([(pytree.SequenceKey(i), x) for i, x in enumerate(own)], None),
    )  # fmt: skip
    yield
    for kind in (Plain, Pair, Own, Listed):
        pytree._deregister_pytree_node(kind)


class Taking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, (3, 2)), nn.BatchNorm2d(4)

    def forward(self, given: Any) -> Tensor:
        match given:
            case list() | tuple() | collections.deque():
                image = given[0]
            case BaseModelOutput():
                image = given.last_hidden_state
            case dict():
                image = given["image"]
            case _:
                image = given.image
        return self.norm(self.conv(image))


X = noise(2, 3, 7, 6)
CONTAINERS = {
    "dataclass": lambda: Plain(X),
    "named tuple": lambda: Pair(X, X > 0),
    "own class": lambda: Own(X),
    "own list": lambda: Listed([X, 3]),
    "model output": lambda: BaseModelOutput(last_hidden_state=X),
    "dictionary": lambda: {"image": X, "the name": [X, None, 1.5]},
    "ordered": lambda: collections.OrderedDict(image=X),
    "with a default": lambda: collections.defaultdict(list, image=X),
    "queue": lambda: collections.deque([X]),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_registered_containers_load_and_fold(name: str, containers: None, tmp_path: Path) -> None:
    given, model = CONTAINERS[name](), double(Taking())
    torch.export.save(torch.export.export(model, (given,)), tmp_path / "net.pt2")
    result = convfold.fold(tmp_path / "net.pt2")
    (read,) = result.source.args
    assert type(read) is type(given)
    assert result.report.after.batch_norms == 0
    with torch.no_grad():
        assert_close(result.module(given), model(given))


def test_a_container_that_is_not_registered(containers: None, tmp_path: Path) -> None:
    torch.export.save(torch.export.export(double(Taking()), (Plain(X),)), tmp_path / "net.pt2")
    pytree._deregister_pytree_node(Plain)
    asked = f"member data/sample_inputs/model.pt/data.pkl asks for {__name__}.Plain"
    refused(tmp_path / "net.pt2", asked, "torch.export.register_dataclass")
    with torch.serialization.safe_globals([Plain]):  # said to be safe, it is still no container
        refused(tmp_path / "net.pt2", "member models/model.json", "a container test.Plain that is not registered here")
    torch.export.register_dataclass(Plain, serialized_type_name="test.Plain")
    assert convfold.fold(tmp_path / "net.pt2").report.after.batch_norms == 0


def test_what_the_user_declared_safe_stays_so(net: Path) -> None:
    with torch.serialization.safe_globals([collections.OrderedDict, Own]):
        load(net)
        assert {collections.OrderedDict, Own} <= set(torch.serialization.get_safe_globals())


def test_what_is_allowed_is_called_and_changed_only_as_values_are(net: Path, tmp_path: Path) -> None:
    """Nothing but allowed names, and still no way to put one function in place of another, or to call what came out."""
    change = b"\x80\x02ctorch.nn.parameter\nParameter\nN}X\x04\x00\x00\x00dataN" + b"s\x86b."
    bare = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aNsb."
    called = b"\x80\x02ctorch\ndevice\nX\x03\x00\x00\x00cpu\x85R)R."
    outside = b"\x80\x02X\x06\x00\x00\x00passwdQ."
    for data, said in (
        (change, "would call or change a _ParameterMeta"),
        (bare, "would call or change a function"),
        (called, "would call or change a device"),
        (outside, "refers to something outside itself that is no storage"),
    ):
        bad = rewritten(net, tmp_path / "bad.pt2", {"data/sample_inputs/model.pt": zipped({"data.pkl": data})})
        refused(bad, "member data/sample_inputs/model.pt/data.pkl", said)


#: What takes objects or code out of a file, and where that may be. A new loader goes through these.
LOADERS = (
    "torch.load torch.jit.load torch.export.load torch.package torch.hub pickle marshal shelve zipfile tarfile runpy"
)
DOORS = {"frontends/torch/pickled.py": {"pickle"}, "frontends/torch/members.py": {"zipfile"}}


def test_nothing_else_in_the_package_loads() -> None:
    for file in sorted(SOURCE.rglob("*.py")):
        used = set()
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Import(names):
                    used |= {name.name for name in names}
                case ast.ImportFrom(module=str(module), names=names):
                    used |= {module, *(f"{module}.{name.name}" for name in names)}
                case ast.Attribute() | ast.Name():
                    used.add(ast.unparse(node))
        name = file.relative_to(SOURCE).as_posix()
        loading = {word for word in (*LOADERS.split(), "eval", "exec", "__import__") if word in used}
        assert loading == DOORS.get(name, set()), f"{name} uses {loading}"
