"""Every notebook's code runs, from the folder it is in, and what it asserts holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))

#: Something that each prints when it comes to what it is for.
SAYS = {
    "fold_and_deploy": "the same predictions for all",
    "own_block": "1 convolution",
    "train_collapsed": "the same predictions for all",
    "two_kernels": "of 1600 pixels",
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    monkeypatch.chdir(path.parent)
    monkeypatch.syspath_prepend(str(path.parent))
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    names: dict[str, object] = {"__name__": "__main__"}
    for i, cell in enumerate(c for c in cells if c["cell_type"] == "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None, "it is kept as written, without outputs"
        exec(compile("".join(cell["source"]), f"{path.name}, cell {i}", "exec"), names)
        plt.close("all")
    assert SAYS[path.stem] in capsys.readouterr().out


def test_there_are_notebooks() -> None:
    assert {path.stem for path in NOTEBOOKS} == SAYS.keys()


def test_every_notebook_draws() -> None:
    for path in NOTEBOOKS:
        assert "plt.show()" in path.read_text(encoding="utf-8"), path.name
