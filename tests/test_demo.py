"""The demo, cut short."""

from __future__ import annotations

import io
import sys
from contextlib import nullcontext
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from convfold.cli import main

module = pytest.importorskip("convfold.demo")


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=110, color_system=None)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_two_kernels_become_one(console: Console) -> None:
    module.show_kernels(console)
    assert "-6  -12    0   12    6" in text(console)
    assert "Largest difference on a random image: 0." in text(console)


def test_digits(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(module, "PUBLISHED", ())
    assert module.demo(console, lambda doing: nullcontext(), epochs=1, seconds=0.0)
    assert "597 of 597 test images" in text(console)
    assert "16       7" in text(console)  # convolutions and linears
    assert "pip install transformers" in text(console)


def test_a_wrong_fold_is_noticed(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    folded = module.fold

    def wrong(network: Any, args: Any) -> Any:
        result = folded(network, args)
        next(iter(result.module.parameters())).data.neg_()
        return result

    monkeypatch.setattr(module, "fold", wrong)
    assert not module.show_digits(console, lambda doing: nullcontext(), 1, 0.0)


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["convfold.demo"], "find_spec", lambda name: None)
    result = CliRunner().invoke(main, ["demo"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "convfold: error: the demo needs scikit-learn: pip install 'convfold[demo]'\n"


@pytest.mark.slow
def test_published(console: Console) -> None:
    pytest.importorskip("transformers")
    module.show_published(console, lambda doing: nullcontext(), 0.0)
    assert "PP-LCNetV3" in text(console)
    assert "TextNet" in text(console)
