"""`explain(trace=…)`: for someone who asks why this was not folded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import convfold
from convfold.trace import Choice, Stop, Stretch, Value
from tests.folding import Net, double

ROOT = Path(__file__).parents[1]


def traced(net: nn.Module, where: str, shape: tuple[int, ...] = (1, 4, 29, 28), **config: Any) -> list[Stretch | Stop]:
    settings = convfold.FoldConfig(**{"objective": "macs", **config})
    x = torch.randn(shape, dtype=torch.float64)
    return list(convfold.explain(double(net), x, config=settings, trace=where).trace)


def stretch(*args: Any, **kwargs: Any) -> Stretch:
    (found,) = traced(*args, **kwargs)
    assert isinstance(found, Stretch)
    return found


def value(found: Stretch) -> Value:
    (only,) = found.values
    return only


def taken(v: Value) -> Choice:
    (choice,) = [c for c in v.choices if c.taken]
    return choice


def pair(pad: int = 0) -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 4, 3, padding=pad), nn.Conv2d(4, 4, 3, padding=pad))


def conv_relu_conv() -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 1))


def test_a_pair_that_does_not_pay() -> None:
    found = stretch(pair(), "1")
    apart, together = value(found).choices
    assert (found.where, found.calls, found.carried) == (("1",), 2, ())
    assert found.outcome.startswith("left as it is, ")
    assert (apart.form, apart.values, apart.verdict) == ("3×3 convolution 4→4", ("0",), "taken")
    assert (together.form, together.verdict) == ("5×5 convolution 4→4", "multiplies more than before")
    assert apart.macs == 144 * (27 * 26 + 25 * 24) < together.macs == 400 * 25 * 24
    assert apart.seconds is None


def test_the_first_of_the_pair_could_be_carried() -> None:
    computed, carried = value(stretch(pair(), "0")).choices
    assert computed.taken and computed.computed
    assert str(carried) == "not computed, carried into 1"
    assert carried.verdict == "multiplies more than before"


def test_a_stretch_ends_at_what_is_not_affine() -> None:
    found = traced(conv_relu_conv(), "*")
    first, last, relu = found
    assert isinstance(first, Stretch) and isinstance(last, Stretch)
    assert first.ends == last.begins == ("1: relu is not among the affine layers convfold reads",)
    assert relu == Stop("1", "not-affine", "relu is not among the affine layers convfold reads", ("0",), ("2",))
    assert "before 1: relu is not among" in str(first) and "a stretch begins at it: 2" in str(relu)


def test_the_border_of_a_padded_pair() -> None:
    together = value(stretch(pair(1), "1", (1, 4, 9, 8))).choices[1]
    ghost, kernels, steps = together.border
    assert "border: kernels of its own for every edge and corner" in together.form
    assert ghost == "1 reads 1 + 1, 1 + 1 positions beyond 0's 4×9×8: data"
    assert re.fullmatch(r"border, kernels of its own .*: 8\.74 k multiply-adds, .*B moved, the cheapest", kernels)
    assert re.fullmatch(r"border, the original steps on strips .* k multiply-adds, .*B moved", steps)


def test_a_border_that_is_to_be_left() -> None:
    assert [v.where for v in stretch(pair(1), "0 → 1", border="refuse").values] == ["0", "1"]  # as the report says it
    found = value(stretch(pair(1), "0", border="refuse"))
    (refusal,) = found.refusals
    assert (refusal.law, refusal.where, refusal.code) == ("distribute", "0 → 1", "ghost-depends-on-data")
    assert [c.verdict for c in found.choices] == ["taken"]


def test_a_folded_stretch_says_what_won() -> None:
    net = nn.Sequential(nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5), nn.Conv2d(5, 2, 3), nn.ReLU())
    found = stretch(net, "1")
    assert found.outcome == "folded, 79.4 k → 50.5 k multiply-adds, 3 → 1 operations"
    assert found.carried == (("1", "scale", ("2",)),)
    won = taken(value(found))
    assert (value(found).where, won.form, won.values[0][:5]) == ("2", "3×3 convolution 4→2", "input")
    assert won is value(found).choices[0]
    assert value(found).forms == len(value(found).choices)


def test_a_shape_that_was_planned_before() -> None:
    """Planning plans each once; a trace is there for both."""
    net = Net(lambda m, x: torch.relu(m.b(m.a(x))) + torch.tanh(m.d(m.c(x))), a=pair(), b=pair(), c=pair(), d=pair())
    first, second = stretch(net, "b.1"), stretch(net, "d.1")
    assert value(first).where != value(second).where
    assert [c.macs for c in value(first).choices] == [c.macs for c in value(second).choices]


def test_what_copies_says_so() -> None:
    net = Net(lambda m, x: m.b(m.p(m.a(x))), a=nn.Conv2d(4, 4, 3), p=nn.ReflectionPad2d(1), b=nn.Conv2d(4, 5, 3))
    refusals = value(stretch(net, "p")).refusals
    assert {(r.where, r.code) for r in refusals} >= {("a → p", "padding-mode"), ("p → b", "padding-mode")}
    assert "left apart, a → p: padding-mode: padding with copies" in str(stretch(net, "p"))
    assert taken(value(stretch(net, "p"))).form == "reflect pad"


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.register_buffer("scale", torch.randn(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x) + 0
        return y * y.sum() * (self.scale.exp() + 1)


def test_calls_in_no_stretch() -> None:
    said = {t.where: t.detail for t in traced(Odd(), "*") if isinstance(t, Stop)}
    assert said["add"] == "it hands its input on, or nothing reads it: nothing is computed"
    assert said["mul"] == "a product of two signals"
    assert said["exp"] == "computed from weights alone, once: a constant"
    (left,) = traced(conv_relu_conv(), "2", exclude=("2",))
    assert isinstance(left, Stop) and left.code == "excluded"


def test_a_norm_begins_a_stretch_with_its_tail() -> None:
    found = stretch(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 3)), "1", (2, 5, 8))
    assert found.begins == ("0, which normalises; its scale and shift are in the stretch",)


@pytest.mark.parametrize(
    ("where", "hint"),
    [("o", "give a module path"), ("convs", "near it: conv"), ("", "give a module path"), ("conv.*", "near it: conv")],
)
def test_no_such_call(where: str, hint: str) -> None:
    with pytest.raises(
        convfold.InvalidInput, match=f"^trace {where!r} matches no call of the model; {hint}".replace("*", r"\*")
    ):
        traced(Odd(), where)


def test_as_text_and_as_data() -> None:
    net = nn.Sequential(*(nn.Conv2d(4, 4, 3) for _ in range(8)))
    report = convfold.explain(double(net), torch.randn(1, 4, 24, 23, dtype=torch.float64), trace="7")
    (found,) = report.trace
    text = str(report)
    assert str(found) in text and "left" not in text.replace(str(found), "")
    assert len(str(found).splitlines()) <= 40
    assert "8 forms seen; these are the cheapest" in text
    data = json.loads(json.dumps(report.to_dict()))["trace"]
    assert data == json.loads(json.dumps([found.to_dict()]))
    assert data[0]["values"][0]["choices"][0]["verdict"] == "taken"
    assert convfold.explain(double(net), torch.randn(1, 4, 24, 23, dtype=torch.float64)).trace == ()


def test_many_values_are_named() -> None:
    net = nn.Sequential(*(nn.Conv2d(4, 4, 3) for _ in range(8)))
    found = stretch(net, "*", (1, 4, 50, 49))
    assert (len(found.values), found.untold) == (6, ("6", "7"))
    assert "untold, to be traced by name: 6, 7" in str(found)
