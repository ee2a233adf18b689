"""What torch cannot trace is named in one line: what, the line of the model's code, what to do instead."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import convfold


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def step(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


class If(Parts):
    def forward(self, x: Tensor) -> Tensor:
        y = self.step(x)
        if y.mean() > 0.5:  # here
            y = y * 2
        return y


class While(Parts):
    def forward(self, x: Tensor) -> Tensor:
        y = self.step(x)
        while y.abs().sum() > 1:  # here
            y = y / 2
        return y


class Asserted(Parts):
    def forward(self, x: Tensor) -> Tensor:
        y = self.step(x)
        assert not (y > 100).any()  # here
        return y


class Truth(Parts):
    def forward(self, x: Tensor) -> Tensor:
        y = self.step(x)
        return y * bool((y > 0).all())  # here


class Chosen(Parts):
    def forward(self, x: Tensor) -> Tensor:
        y = self.step(x)
        return y if y.mean().item() > 0 else -y  # here


class Sliced(Parts):
    def forward(self, x: Tensor) -> Tensor:
        y = self.step(x)
        n = int(y.abs().sum())  # here
        return y[:, :, :n]


class Counted(Parts):
    def forward(self, x: Tensor) -> Tensor:
        y = self.step(x)
        for _ in range(int(y.abs().sum())):  # here
            y = y + 1
        return y


class Looked(Parts):
    def forward(self, x: Tensor) -> Tensor:
        y = self.step(x)
        return y * [1.0, 2.0][y.flatten().argmax()]  # here


class Compared(Parts):
    def forward(self, x: Tensor) -> Tensor:
        y = self.step(x)
        return y * (1 + torch.equal(y, x[:, :1]))  # here


def positive(y: Tensor) -> Tensor:
    if (y > 0).any():  # here
        return y
    return -y


class Outside(Parts):
    """In a function of another module of the user's, called in a layer of a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return positive(self.step(x))


BRANCHES = "branches on a value that is only known when it runs"
NUMBER = "makes a Python number of a value that is only known when it runs"
CASES: list[tuple[type[Parts], Callable[..., Any], str]] = [
    (If, If.forward, BRANCHES),
    (While, While.forward, BRANCHES),
    (Asserted, Asserted.forward, BRANCHES),
    (Truth, Truth.forward, BRANCHES),
    (Chosen, Chosen.forward, BRANCHES),
    (Outside, positive, BRANCHES),
    (Sliced, Sliced.forward, NUMBER),
    (Counted, Counted.forward, NUMBER),
    (Looked, Looked.forward, NUMBER),
    (Compared, Compared.forward, NUMBER),
]


def refusal(net: nn.Module, x: Tensor) -> str:
    with pytest.raises(convfold.InvalidInput) as e:
        convfold.fold(net.eval(), x)
    assert "\n" not in str(e.value)
    return str(e.value)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(("kind", "function", "what"), CASES, ids=[kind.__name__ for kind, _, _ in CASES])
def test_values_only_known_at_run_time(
    kind: type[Parts], function: Callable[..., Any], what: str, inside: bool
) -> None:
    lines, first = inspect.getsourcelines(function)
    ((number, line),) = [(i, text.strip()) for i, text in enumerate(lines, first) if text.endswith("# here\n")]
    net = nn.Sequential(nn.Sequential(kind())) if inside else kind()
    said = refusal(net, torch.randn(2, 3, 5, 4))
    assert said.startswith(f"{'Sequential' if inside else kind.__name__} cannot be exported: it {what}, at ")
    assert f"{Path(__file__).name}:{number}: `{line}`; " in said
    assert ("torch.where or torch.cond" if what is BRANCHES else "keep it a tensor") in said


class Narrow(Parts):
    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x[:, :2])  # type: ignore[no-any-return]


def test_whatever_else_fails_is_named_with_its_line() -> None:
    said = refusal(Narrow(), torch.randn(2, 3, 5, 4))
    assert re.fullmatch(
        r"Narrow cannot be exported with these inputs: .*expected input\[.*to have 3 channels.* "
        r"\(.*test_untraceable\.py:\d+: `return self\.conv\(x\[:, :2\]\).*`\)",
        said,
    )


def test_without_code_of_the_models_own() -> None:
    said = refusal(nn.Sequential(nn.Conv2d(4, 4, 1)), torch.randn(2, 3, 5, 4))
    assert said.endswith("to have 4 channels, but got 3 channels instead")


def test_torchscript() -> None:
    net, x = nn.Sequential(nn.Conv2d(3, 4, 1)).eval(), torch.randn(2, 3, 5, 4)
    for module in (torch.jit.script(net), torch.jit.trace(net, x)):
        assert refusal(module, x) == (
            "cannot fold TorchScript, which torch.export does not take; give the module it was made from"
        )


def test_weights_without_numbers(tmp_path: Path) -> None:
    net, x = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).to("meta"), torch.randn(2, 3, 5, 4)
    assert refusal(net, x) == (
        "weight '0.weight' is on the meta device and has no numbers, and the inputs are on cpu: load the weights "
        "first, or give inputs on the meta device"
    )
    result = convfold.fold(net, x.to("meta"), config=convfold.FoldConfig(verify=False))
    result.save(tmp_path / "net.pt2")
    with pytest.raises(convfold.InvalidInput, match=r"net\.onnx: weight .* is on the meta device and has no numbers"):
        result.save(tmp_path / "net.onnx")
    assert [x.name for x in tmp_path.iterdir()] == ["net.pt2"]
