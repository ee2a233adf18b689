"""A value from a bare weight as PyTorch spells it; sums, differences, multiples; types and devices."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convfold
from convfold import Convolution, InvalidInput, Window
from convfold.errors import ConvfoldError
from tests.folding import double, noise
from tests.laws.oracle import assert_close

SPACE = {1: (11,), 2: (9, 8), 3: (7, 6, 8)}
CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def taps(dims: int) -> tuple[int, ...]:
    return (3, 2, 4)[:dims]


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    "numbers",
    [
        {},
        {"stride": 2},
        {"padding": 1},
        {"padding": "same"},
        {"padding": "same", "dilation": 2},
        {"padding": "valid", "stride": 3},
        {"dilation": 2, "stride": 2, "padding": 3},
        {"groups": 4},
        {"groups": 4, "stride": 2, "padding": 1, "dilation": 1},
        {"stride": (2,), "padding": [1]},
    ],
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_a_bare_weight(dims: int, numbers: dict[str, Any]) -> None:
    groups = numbers.get("groups", 1)
    weight, bias = noise(8, 4 // groups, *taps(dims)), noise(8)
    x = noise(2, 4, *SPACE[dims])
    assert_close(Convolution(weight, bias, **numbers)(x), CONV[dims](x, weight, bias, **numbers))
    assert_close(Convolution(weight, **numbers)(x), CONV[dims](x, weight, None, **numbers))


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    "numbers",
    [
        {},
        {"stride": 2},
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"stride": 3, "dilation": 2, "output_padding": 2},
        {"groups": 2, "stride": 2, "padding": 2},
    ],
)
def test_a_bare_transposed_weight(dims: int, numbers: dict[str, Any]) -> None:
    weight, bias = noise(4, 3, *taps(dims)), noise(3 * numbers.get("groups", 1))
    x = noise(2, 4, *SPACE[dims])
    assert_close(Convolution.conv_transpose(weight, bias, **numbers)(x), TRANSPOSED[dims](x, weight, bias, **numbers))
    in_order = [numbers.get(k, d) for k, d in zip(ORDER, (1, 0, 0, 1, 1), strict=True)]
    assert_close(Convolution.conv_transpose(weight, bias, *in_order)(x), TRANSPOSED[dims](x, weight, bias, *in_order))


ORDER = ("stride", "padding", "output_padding", "groups", "dilation")


def test_one_number_an_axis() -> None:
    weight, x = noise(2, 3, 3, 2), noise(2, 3, 9, 8)
    numbers: dict[str, Any] = {"stride": (2, 1), "padding": (0, 3), "dilation": (1, 3)}
    assert_close(Convolution(weight, **numbers)(x), F.conv2d(x, weight, None, **numbers))


def test_a_matrix_has_no_axes() -> None:
    weight, x = noise(4, 3), noise(2, 3)
    assert_close(Convolution(weight)(x), x @ weight.t())
    assert Convolution(weight).windows == ()


def test_a_value_is_what_it_was() -> None:
    """Frozen, by position as ever, copied and replaced like any dataclass."""
    windows = (Window(3, 2), Window(2, lo=1))
    value = Convolution(noise(4, 2, 3, 2), noise(4), 2, windows)
    assert (value.groups, value.windows, value.c_in, value.c_out) == (2, windows, 4, 4)
    with pytest.raises(AttributeError):
        value.groups = 1  # type: ignore[misc]
    other = replace(value, bias=None)
    assert other.kernel is value.kernel and other.windows == windows and other.geometry.period is None
    assert value.geometry.period == (1, 1)
    twin = copy.deepcopy(value)
    assert torch.equal(twin.kernel, value.kernel) and twin.geometry == value.geometry


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda w: Convolution(w, None, 1, (Window(3),)), "does not fit windows with taps"),
        (lambda w: Convolution(w, None, 1, (Window(3), Window(2)), stride=2), "not both"),
        (lambda w: Convolution(w, None, 2, 1), "stride, padding and dilation go by keyword"),
        (lambda w: Convolution(w, stride=(1, 2, 3)), r"\(1, 2, 3\) does not fit 2 space axes"),
        (lambda w: Convolution(w, padding="some"), "padding='some' is not known"),
        (lambda w: Convolution(w, padding="same", stride=2), "size would not be the same"),
        (lambda w: Convolution(w, groups=3), "cannot be split into 3 groups"),
        (lambda w: Convolution(w) * noise(3), r"scale of shape \(3,\): expected one number, or one for each of 4"),
        (lambda w: Convolution(w).to(torch.int64), "floating-point type"),
    ],
)
def test_mistakes_have_one_line(make: Callable[[Tensor], object], words: str) -> None:
    with pytest.raises(ConvfoldError, match=words) as failure:
        make(noise(4, 3, 3, 2))
    assert "\n" not in str(failure.value)


def test_differences_and_sums() -> None:
    a = Convolution(noise(4, 3, 3, 3), noise(4), padding=1)
    b = Convolution(noise(4, 3, 1, 3), padding=(0, 1))
    x = noise(2, 3, 6, 7)
    assert_close((a - b)(x), a(x) - b(x))
    assert_close((-a)(x), -a(x))
    assert_close(sum([a, b, a])(x), 2 * a(x) + b(x))  # type: ignore[union-attr, operator]
    assert_close(sum(c for c in (a,))(x), a(x))  # type: ignore[union-attr, operator]
    for wrong in (1, 0.5, "a", None, noise(4)):
        with pytest.raises(TypeError):
            a + wrong  # type: ignore[operator]
        with pytest.raises(TypeError):
            a - wrong  # type: ignore[operator]


@pytest.mark.parametrize("scale", [2, 0.5, noise(4), noise(4, 1, 1), torch.tensor(3.0), noise(1)])
def test_multiples(scale: Any) -> None:
    value = Convolution(noise(4, 3, 3, 3), noise(4), padding=1)
    x = noise(2, 3, 6, 7)
    factor = scale.reshape(-1, 1, 1) if isinstance(scale, Tensor) else scale
    assert_close((value * scale)(x), factor * value(x))
    assert_close((scale * value)(x), factor * value(x))


def test_multiples_by_what_is_learnt() -> None:
    s = noise(4).requires_grad_()
    value = Convolution(noise(4, 3, 3), noise(4)) * s
    value(noise(2, 3, 7)).sum().backward()
    assert s.grad is not None and bool(s.grad.ne(0).all())


def test_types_and_devices() -> None:
    value = Convolution(noise(4, 3, 3, 2), noise(4))
    assert value.to("cpu") is value and value.to(torch.device("cpu"), torch.float64) is value
    for moved in (
        value.to(torch.float32),
        value.to(dtype=torch.float32),
        value.to("cpu", torch.float32),
        value.to(torch.float32, "cpu"),
        value.to(torch.float32, device="cpu"),
        value.to(torch.empty(0)),
    ):
        assert moved.kernel.dtype == torch.float32 and moved.bias is not None and moved.bias.dtype == torch.float32
    for moved in (value.to("meta"), value.to(device="meta"), value.to(torch.device("meta"))):
        assert moved.kernel.is_meta and moved.kernel.dtype == torch.float64


def test_values_of_two_types() -> None:
    """The wider is computed in; applied, a value takes the signal's type."""
    conv, pool = double(nn.Conv2d(3, 4, 3)).float(), nn.AvgPool2d(3, 1, 1)
    x = noise(2, 3, 7, 8, dtype=torch.float32)
    both = Convolution.of(conv) @ Convolution.of(nn.ZeroPad2d(1), channels=3)
    assert both.kernel.dtype == torch.float64
    with torch.no_grad():
        assert_close(both(x), conv(F.pad(x, (1, 1, 1, 1))), tolerance=1e-5)
        assert both(x).dtype == torch.float32
        assert_close(Convolution.of(pool, channels=3)(x), pool(x), tolerance=1e-5)
        half = Convolution.of(nn.Conv2d(3, 3, 3, padding=1).bfloat16()) + Convolution.of(nn.Identity(), channels=3)
        assert half(x).shape == x.shape
    with pytest.raises(InvalidInput):
        Convolution.of(conv, channels="3").to(torch.bool)  # type: ignore[arg-type]


def test_what_merge_is_given() -> None:
    """Modules, lists of them, lists of lists, whatever can be gone through once."""
    a, b, c = double(nn.Conv2d(3, 4, 3)), double(nn.BatchNorm2d(4)), double(nn.Conv2d(4, 2, 1))
    x = noise(2, 3, 6, 5)
    with torch.no_grad():
        expected = c(b(a(x)))
        for given in (
            (a, b, c),
            ([a, b, c],),
            ((a, b, c),),
            (a, [b, c]),
            ([[a], [b, [c]]],),
            ((m for m in (a, b, c)),),
            (iter([a, b]), c),
            (nn.ModuleList([a, b, c]),),
            (a, nn.ModuleList([b, c])),
            (nn.Sequential(a, b), [c]),
            ({"a": a, "b": b, "c": c}.values(),),
        ):
            assert_close(convfold.merge(*given)(x), expected)
    for wrong in ("ab", 3, None, [a, "b"], {"a": a}, nn.ModuleDict({"a": a}), noise(2)):
        with pytest.raises(InvalidInput, match=r"takes torch\.nn modules, or lists of them, got"):
            convfold.merge(wrong)  # type: ignore[arg-type]
    for empty in ([], (), iter([])):
        with pytest.raises(InvalidInput, match="got no modules"):
            convfold.merge(empty)
