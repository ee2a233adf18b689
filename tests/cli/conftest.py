"""Factories in a folder of their own, the current one, and a way to run the command line in it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from convfold.cli import main

FACTORIES = """
import dataclasses, os, signal, sys, time
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(3, 4, (3, 1), padding=(1, 0), bias=False), nn.BatchNorm2d(4), nn.ReLU())
    second = nn.Sequential(nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5), nn.Conv2d(5, 2, (1, 3)))
    for m in (first[1], second[1]):
        nn.init.normal_(m.running_mean), nn.init.uniform_(m.running_var, 0.5, 2.0)
    return nn.Sequential(first, second).eval()

def given():
    print("building")  # must not end up among the data
    return net(), (torch.randn(1, 3, 7, 6),)

def other():
    torch.manual_seed(1)
    return nn.Conv2d(3, 2, (3, 3), padding=(1, 0)).eval(), (torch.randn(1, 3, 7, 6),)

def nothing():
    return nn.Sequential(nn.ReLU()).eval(), torch.randn(1, 3, 7, 6)

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)

    def forward(self, x, mask, scale=None):
        y = self.norm(self.conv(x)) * mask
        return y if scale is None else y * scale

def two():
    return Two().eval()

def many():
    layers = [m for _ in range(15) for m in (nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU())]
    return nn.Sequential(*layers).eval(), torch.randn(1, 3, 4, 4)

def padded():  # 0 → 1 reads zeros where 0 would have data
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)).eval(), torch.randn(1, 4, 9, 8)

def training():
    return net().train(), (torch.randn(1, 3, 7, 6),)

def nan():
    model = net()
    model[0][0].weight.data[0, 0, 0, 0] = float("nan")
    return model, (torch.randn(1, 3, 7, 6),)

def raises():
    raise ValueError("no such weights\\nat all")

def leaves():
    raise SystemExit(7)

class Printing(nn.Conv2d):
    def forward(self, x):
        print("called")
        return super().forward(x)

def printing():
    torch.manual_seed(0)
    return Printing(3, 2, (3, 1)).eval(), torch.randn(1, 3, 7, 6)

class Branching(nn.Conv2d):
    def forward(self, x):
        y = super().forward(x)
        return y * 2 if y.mean() > 0.5 else y

def branching():
    return Branching(3, 2, (3, 1)).eval(), torch.randn(1, 3, 7, 6)

class OfTwo(nn.Conv2d):
    def forward(self, x):
        y = super().forward(x)
        return y if x.shape[0] == 2 or y.mean() > 0.5 else -y

def of_two():
    return nn.Sequential(OfTwo(3, 4, 1), nn.Conv2d(4, 2, 1)).eval(), torch.randn(2, 3, 7, 6)

@dataclasses.dataclass
class Features:
    image: torch.Tensor
    mask: torch.Tensor | None = None

class Featuring(nn.Sequential):
    def forward(self, given):
        return Features(super().forward(given.image))

def featuring():
    torch.manual_seed(0)
    return Featuring(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)).eval(), (Features(torch.randn(2, 3, 7, 6)),)

class Object:
    def __init__(self, image):
        self.image = image

class Opaque(nn.Conv2d):
    def forward(self, x):
        return Object(super().forward(x))

def opaque():
    return Opaque(3, 4, 1).eval(), torch.randn(2, 3, 7, 6)

def bare():
    return net().to("meta"), torch.randn(2, 3, 7, 6)

class Choosing(nn.Conv2d):
    def forward(self, x):
        y = super().forward(x)
        return torch.cond(y.mean() > 0.5, lambda y: y * 2, lambda y: y + 1, (y,))

def choosing():
    return Choosing(3, 2, (3, 1)).eval(), torch.randn(1, 3, 7, 6)

@torch.library.custom_op("convfold_test::wave", mutates_args=())
def wave(x: torch.Tensor) -> torch.Tensor:
    return x.sin()

wave.register_fake(torch.empty_like)

class Waving(nn.Conv2d):
    def forward(self, x):
        return wave(super().forward(x))

def waving():
    return Waving(3, 2, (3, 1)).eval(), torch.randn(1, 3, 7, 6)

class Interrupting(nn.Conv2d):
    def forward(self, x):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
        return super().forward(x)

def interrupting():
    return Interrupting(3, 2, (3, 1)).eval(), torch.randn(1, 3, 7, 6)

class Weird(BaseException):
    pass

def weird():
    raise Weird("no Exception")

def later():
    yield net()

def four():
    return net(), (torch.randn(1, 3, 7, 6),), {}, "and more"

def empty():
    return ()

def keywords():
    return net(), (torch.randn(1, 3, 7, 6),), ["no", "dict"]

def scaled():
    return two(), (torch.randn(1, 3, 8, 9), torch.randn(6, 7), 2.0)

class Leaving(nn.Module):
    def forward(self, x):
        raise SystemExit(0)

def leaving():
    return Leaving().eval(), torch.randn(1, 3, 7, 6)

def number():
    return 3

def words():
    return net(), "some words"

class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.calls = nn.Conv2d(3, 4, 1), 0
        self.register_buffer("n", torch.zeros(()))

    def forward(self, x):
        self.n += 1
        self.calls += 1
        assert self.calls == 1, "every call is the first"
        return self.conv(x) * self.n

counting_itself = Counting().eval()

def counting():
    return counting_itself, torch.randn(1, 3, 7, 6)

class NaN(nn.Module):
    def forward(self, x):
        return x * float("nan")

def all_nan():
    return nn.Sequential(nn.Conv2d(3, 4, 1), NaN()).eval(), torch.randn(1, 3, 7, 6)

number_itself = 3
model_itself = net()
"""

Run = Callable[..., Result]


def calm(stderr: str) -> list[str]:
    """The lines on standard error but for signs of life, and of a busy machine, which has more of them."""
    lively = r"convfold: .*( …|:) \d+ s|convfold: warning: this machine is busy.*"
    return [line for line in stderr.splitlines() if not re.fullmatch(lively, line)]


def messages(stderr: str) -> list[str]:
    """The lines on standard error but for progress and what the factory prints."""
    return [
        line
        for line in calm(stderr)
        if line != "building" and not re.fullmatch(r"convfold: (?!error|internal error).* …", line)
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "factories.py").write_text(FACTORIES)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "exits.py").write_text("import sys\nsys.exit()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("factories", "broken", "exits"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    return lambda *words: CliRunner().invoke(main, [str(w) for w in words])
