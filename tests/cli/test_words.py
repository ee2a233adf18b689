"""Options with a grammar of their own."""

from __future__ import annotations

import pytest
import torch

from convfold.arguments import DTYPES, BadUsage, Free, Shape
from convfold.inputs import draw


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("x:1,3,224,224", Shape("x", (1, 3, 224, 224), None)),
        ("1,3,8,9", Shape(None, (1, 3, 8, 9), None)),
        ("7", Shape(None, (7,), None)),
        ("pixel_values_2: 2, 5 :bfloat16", Shape("pixel_values_2", (2, 5), "bfloat16")),
        ("größe:4", Shape("größe", (4,), None)),
        ("2,5:int64", Shape(None, (2, 5), "int64")),
    ],
)
def test_shape(text: str, shape: Shape) -> None:
    assert Shape.parse(text) == shape


@pytest.mark.parametrize(
    "text", ["", "x", "x:", ":1", "x:1,,2", "x:1;2", "x:-1,2", "1x:2", "x:1,2:", "x:1:save", "x:0", "x:٣,3"]
)
def test_no_shape(text: str) -> None:
    with pytest.raises(BadUsage, match="write "):
        Shape.parse(text)


@pytest.mark.parametrize("name", sorted(DTYPES))
def test_every_type_can_be_drawn(name: str) -> None:
    dtype = getattr(torch, name)
    x = draw((3, 50), dtype)
    assert (tuple(x.shape), x.dtype) == ((3, 50), dtype)
    assert torch.equal(x.to(torch.complex128), draw((3, 50), dtype).to(torch.complex128))  # no chance
    if not dtype.is_floating_point and not dtype.is_complex:
        assert sorted(set(x.flatten().tolist())) == [0, 1]


@pytest.mark.parametrize(
    ("text", "free"),
    [
        ("batch", Free("batch")),
        ("all", Free("all")),
        ("none", Free("none")),
        ("x:0,2,3", Free("x", (0, 2, 3))),
        ("mask: 1", Free("mask", (1,))),
    ],
)
def test_free(text: str, free: Free) -> None:
    assert Free.parse(text) == free


@pytest.mark.parametrize("text", ["", "some", "x:", "x:-1", "x:a", ":0", "all:0,"])
def test_not_free(text: str) -> None:
    with pytest.raises(BadUsage, match="write batch, all, none, or name:0,2,3"):
        Free.parse(text)
