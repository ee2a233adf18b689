"""Layers of other packages: found by their entry point, and held against torch by the suite that ours pass through."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from convfold import Convolution
from convfold.layers import ATEN, Call, Step, convolved, operator
from convfold.layers.examples import EXAMPLES, Draw, Example, example
from convfold.testing import check

ROOT = Path(__file__).parents[1]
OWN = ROOT / "examples" / "own_layer"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example package, as pip installs it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(OWN)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def run(installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(installed), str(ROOT / "src")])
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run([sys.executable, *words], check=False, env=environment, capture_output=True, text=True)


def test_the_example_package(installed: Path) -> None:
    how = ("-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir", str(OWN))
    done = run(installed, "-m", "pytest", *how, str(OWN / "tests"))
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout + done.stderr


def test_one_that_cannot_be_imported_is_said(installed: Path, tmp_path: Path) -> None:
    information = tmp_path / "broken-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[convfold.layers]\nx = no_such_module\n")
    done = run(tmp_path, "-c", "import convfold.layers; print(len(convfold.layers.ATEN) > 100)")
    assert done.returncode == 0 and done.stdout.strip() == "True"
    assert "layers of 'no_such_module' are not read: ModuleNotFoundError" in done.stderr


@torch.library.custom_op("convfold_tests::third", mutates_args=())
def third(x: Tensor) -> Tensor:
    return x / 3


@third.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


NAME = "convfold_tests.third.default"


@pytest.fixture
def example_drawn() -> Iterator[None]:
    @example(NAME)
    def drawn(draw: Draw, spelling: str) -> Example:
        return Example((draw.signal(2, draw.integer(1, 3), draw.integer(1, 5)),))

    yield
    EXAMPLES.pop(NAME)
    ATEN.pop(NAME, None)


def read_as(factor: float) -> None:
    @operator(NAME)
    def read(call: Call) -> Step:
        kernel = torch.full((call["x"].shape[1], 1, 1), factor, dtype=torch.float64)
        return convolved(Convolution(kernel, None, len(kernel)), call["x"])


def test_a_right_reader(example_drawn: None) -> None:
    read_as(1 / 3)
    check(NAME, 5)


def test_a_wrong_reader(example_drawn: None) -> None:
    read_as(0.3333)
    with pytest.raises(AssertionError, match=r"third\.default, seed 0: x\[2, .*other numbers than torch"):
        check(NAME, 5)


def test_no_reader(example_drawn: None) -> None:
    with pytest.raises(LookupError, match="no reader"):
        check(NAME)


def test_another_reason(example_drawn: None) -> None:
    from convfold.errors import NotFoldable

    @operator(NAME)
    def read(call: Call) -> Step:
        raise NotFoldable("padding-mode", "just so")

    with pytest.raises(AssertionError, match=r"refused as \['padding-mode'\], expected a reading"):
        check(NAME, 1)


@pytest.mark.parametrize("spelling", ["aten.conv2d.default", "aten.flip.default", "aten.avg_pool2d.default"])
def test_ours_pass(spelling: str) -> None:
    check(spelling, 5)
