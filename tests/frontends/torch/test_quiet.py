"""torch's graphs, logs and warnings about its own tracing are not the user's: nothing of them on standard error."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

import convfold
from convfold.frontends.torch.quiet import aloud, quiet

SCRIPT = """
import logging, sys, warnings
import torch
from torch import nn
import convfold

class Sized(nn.Conv2d):  # with the batch free torch fails, in many words; with the size given it does not
    def forward(self, x):
        y = super().forward(x)
        if x.shape[0] == 2 or y.new_ones(1).sum() > y.new_zeros(1).sum():
            return y
        return -y

class Recurrent(nn.Conv2d):  # torch warns of attributes it assigns itself
    def __init__(self, *channels):
        super().__init__(*channels)
        self.gru = nn.GRU(4, 4, batch_first=True)

    def forward(self, x):
        y = super().forward(x)
        return y + self.gru(y.mean(2).mT)[0].mT.unsqueeze(2)

class Branching(nn.Conv2d):
    def forward(self, x):
        y = super().forward(x)
        return y * 2 if y.mean() > 0.5 else y

class Loud(nn.Conv2d):
    def forward(self, x):
        print("printed", file=sys.stderr)
        sys.stderr.write("written\\n")
        logging.getLogger("user").warning("logged")
        warnings.warn("warned")
        return super().forward(x)

kind = {"Sized": Sized, "Recurrent": Recurrent, "Branching": Branching, "Loud": Loud}[sys.argv[1]]
model = nn.Sequential(kind(3, 4, 1), nn.BatchNorm2d(4)).eval()
try:
    result = convfold.fold(model, torch.randn(2, 3, 5, 4), config=convfold.FoldConfig(verify=False))
except convfold.InvalidInput as e:
    print(e)
else:
    for name in sys.argv[2:]:
        result.save(name)
        if name.endswith(".pt2"):
            convfold.fold(name)
    print(result.report.free, result.report.changed)
"""


def said(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(SCRIPT)
    kept = {name: x for name, x in os.environ.items() if not name.startswith(("TORCH", "PYTHONWARNINGS"))}
    env = {**kept, "PYTHONPATH": str(Path(convfold.__file__).parents[1]), **variables}
    command = [sys.executable, "script.py", *words]
    done = subprocess.run(command, cwd=folder, env=env, text=True, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_a_batch_that_cannot_be_free(tmp_path: Path) -> None:
    done = said(tmp_path, "Sized", "net.pt2", "net.onnx", PYTHONWARNINGS="default")
    assert (done.stdout, done.stderr) == ("() True\n", "")


def test_warnings_put_down_to_others(tmp_path: Path) -> None:
    assert said(tmp_path, "Recurrent", "net.pt2", PYTHONWARNINGS="always").stderr == ""


def test_a_model_that_cannot_be_exported(tmp_path: Path) -> None:
    done = said(tmp_path, "Branching")
    assert done.stderr == ""
    assert "branches on a value that is only known when it runs, at script.py:" in done.stdout


def test_torch_logs_asks_for_it(tmp_path: Path) -> None:
    text = said(tmp_path, "Branching", TORCH_LOGS="+export").stderr
    assert "torch.ops.aten.conv2d.default" in text and "symbolic_shapes.py" in text


def test_what_the_model_says_is_heard(tmp_path: Path) -> None:
    lines = said(tmp_path, "Loud").stderr.splitlines()
    assert {"printed", "written", "logged"} <= set(lines)
    assert any("UserWarning: warned" in line for line in lines)


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


@pytest.fixture
def heard() -> Any:
    """What reaches a handler of the user's on a logger of torch's."""
    logger, handler = logging.getLogger("torch.of_this_test"), Kept()
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    yield handler.heard
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def log(text: str) -> None:
    logging.getLogger("torch.of_this_test").warning(text)


def test_only_meanwhile_only_there(heard: list[str]) -> None:
    log("before")
    with quiet(), quiet():
        log("meanwhile")
        other = threading.Thread(target=log, args=["of another thread"])
        other.start()
        other.join()
    log("after")
    with aloud(), quiet():
        log("asked for")
    assert heard == ["before", "of another thread", "after", "asked for"]


def test_who_asked_for_more_hears_all(heard: list[str]) -> None:
    logging.getLogger("torch.of_this_test").setLevel(logging.INFO)
    with quiet():
        log("a warning")
    assert heard == ["a warning"]


def test_streams_and_warnings_are_given_back() -> None:
    stream, filters = sys.stderr, list(warnings.filters)
    with pytest.raises(KeyError), quiet():
        held = sys.stderr
        assert held is not stream
        raise KeyError
    assert sys.stderr is stream and list(warnings.filters) == filters
    exec("print('late', file=held)", {"__name__": "torch.late", "held": held})  # who kept it speaks freely


def test_a_stream_put_there_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = open(os.devnull, "w")  # noqa: SIM115
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    with mine, quiet():
        sys.stderr = mine
    assert sys.stderr is mine


def test_without_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with quiet():
        assert sys.stderr is None
