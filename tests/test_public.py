"""The public surface: what is promised, and nothing that slipped in."""

from __future__ import annotations

import inspect
import pickle
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import pytest
from torch import nn

import convfold

NAMES = [
    "REASONS",
    "ConvfoldError",
    "Convolution",
    "FoldConfig",
    "InvalidInput",
    "NotFoldable",
    "Report",
    "Result",
    "Verdict",
    "VerificationFailed",
    "Window",
    "collapse",
    "explain",
    "fold",
    "fold_",
    "merge",
    "unfold_",
    "verify",
]


def test_names() -> None:
    assert convfold.__all__ == NAMES == sorted(NAMES, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert all(hasattr(convfold, name) for name in NAMES)
    assert set(NAMES) <= set(dir(convfold))
    with pytest.raises(AttributeError, match="module 'convfold' has no attribute 'unfold'"):
        convfold.unfold  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'unfold'"):
        from convfold import unfold  # noqa: F401


#: Ways to the names that a file and its function share, and to what the layers register.
ROADS = [
    "import convfold.fold, convfold.merge, convfold.verify",
    "from convfold.fold import Result; from convfold.verify import Verdict",
    "from importlib import import_module; [import_module(f'convfold.{n}') for n in ('verify', 'merge', 'fold')]",
    "from convfold import fold, verify; import convfold.fold; from convfold import merge",
    "import convfold.fold as f, convfold.merge; assert f is convfold.fold",
    "from convfold import *; import convfold; assert [fold, verify] == [convfold.fold, convfold.verify]",
    "import convfold.frontends.torch.read, convfold.plan, convfold.report",
    "import pickle; pickle.loads(b'\\x80\\x04cconvfold.verify\\nVerdict\\n.')",
    "from convfold.algebra.convolution import Convolution; assert Convolution.of(nn.Conv2d(2, 3, 5)).c_out == 3",
    "from convfold.algebra.convolution import Convolution; assert Convolution.identity(3, 2).to_module().groups == 3",
    "import convfold.algebra.doors as s; assert s.of(nn.Linear(2, 3)).c_in == 2",
    "import convfold.region",
]

#: Each in a copy of an interpreter that has not seen the package.
SCRIPT = """
import os, sys
from types import FunctionType, ModuleType
import rich.console, rich.table, torch.export, torch.fx  # once for all
from torch import nn
assert "convfold" not in sys.modules
for road in sys.argv[1:]:
    if not os.fork():
        exec(road, {"nn": nn})
        import convfold
        for name in ("fold", "merge", "verify"):
            function, module = getattr(convfold, name), sys.modules["convfold." + name]
            assert type(function) is FunctionType and type(module) is ModuleType, (road, name)
            assert getattr(module, name) is function, (road, name)
        os._exit(0)
    if os.wait()[1]:
        sys.exit(road)
"""


def test_functions_whatever_is_imported_first() -> None:
    env = {"PYTHONPATH": str(Path(convfold.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", SCRIPT, *ROADS], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_parts_are_attributes() -> None:
    """Of every file: as if all had been imported, which `import convfold` once did."""
    for part in pkgutil.iter_modules(convfold.__path__):
        if part.name not in NAMES and part.name != "__main__":
            assert getattr(convfold, part.name) is import_module(f"convfold.{part.name}")


def test_names_can_be_replaced_and_pickled() -> None:
    module = import_module("convfold.fold")
    with patch("convfold.fold.read", return_value=3):
        assert module.read() == 3
    with patch.object(convfold, "fold", 4):
        assert convfold.fold == 4
    assert convfold.fold is module.fold is pickle.loads(pickle.dumps(convfold.fold))
    assert pickle.loads(pickle.dumps(convfold.Verdict)) is convfold.Verdict
    assert isinstance(convfold.merge(nn.Conv2d(2, 3, 1), nn.Conv2d(3, 1, 1)), nn.Conv2d)


def test_everything_public_is_documented() -> None:
    for name in NAMES:
        thing = getattr(convfold, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), name
    for cls in (convfold.Convolution, convfold.Result, convfold.Report, convfold.Verdict):
        for name, member in inspect.getmembers(cls, inspect.isfunction):
            assert name.startswith("_") or inspect.getdoc(member), f"{cls.__name__}.{name}"


def test_parameters() -> None:
    """Keyword for keyword: what a caller may have written down."""
    shared = ["model", "args", "kwargs", "dynamic_shapes", "config", "progress"]
    assert list(inspect.signature(convfold.fold).parameters) == [*shared, "keep"]
    assert list(inspect.signature(convfold.explain).parameters) == [*shared, "trace"]
    assert list(inspect.signature(convfold.merge).parameters) == ["modules", "attached", "border", "check"]
    assert inspect.signature(convfold.merge).parameters["border"].default == convfold.FoldConfig().border == "exact"
    assert list(inspect.signature(convfold.verify).parameters)[:4] == ["model_a", "model_b", "args", "kwargs"]
