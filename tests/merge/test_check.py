"""`merge` looks whether its result computes what the modules do: every kind of mistake in composing is seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import convfold
from convfold.algebra.convolution import Convolution
from convfold.errors import BorderChanged, VerificationFailed
from convfold.layers.links import Link
from tests.folding import Net, double, noise
from tests.laws.oracle import assert_close
from tests.merge.blocks import RepVGG


def layers() -> list[nn.Module]:
    """With a border, a stride, an even kernel and groups."""
    return list(
        double(
            nn.Sequential(
                nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(1, 1), groups=2),
                nn.BatchNorm2d(6),
                nn.Conv2d(6, 5, (1, 3)),
            )
        )
    )


def scaled(t: Tensor, index: Any, factor: float) -> Tensor:
    t = t.clone()
    t[index] *= factor
    return t


def windows(value: Convolution, axis: int, **fields: int) -> Convolution:
    return replace(value, windows=tuple(replace(w, **fields) if i == axis else w for i, w in enumerate(value.windows)))


MISTAKES: dict[str, Callable[[Convolution], Convolution]] = {
    "taps flipped": lambda v: replace(v, kernel=v.kernel.flip(3)),
    "one tap off by a millionth": lambda v: replace(v, kernel=scaled(v.kernel, (0, 0, 0, 0), 1 + 1e-6)),
    "no bias": lambda v: replace(v, bias=None),
    "bias off": lambda v: replace(v, bias=scaled(v.bias, 3, 1.001)),  # type: ignore[arg-type]
    "channels swapped": lambda v: replace(v, kernel=v.kernel[:, [1, 0, 2, 3]]),
    "outputs swapped": lambda v: replace(v, kernel=v.kernel[[1, 0, 2, 3, 4]]),
    "padding shifted": lambda v: windows(v, 1, lo=v.windows[1].lo - 1, hi=v.windows[1].hi + 1),
    "padding left out": lambda v: windows(v, 0, lo=0, hi=0),
    "one position too many": lambda v: windows(v, 0, hi=v.windows[0].hi + 1),
    "another stride": lambda v: windows(v, 1, stride=1),
    "not a number": lambda v: replace(v, kernel=scaled(v.kernel, (0, 0, 0, 0), float("nan"))),
    "rounded": lambda v: v.to(torch.float32).to(torch.float64),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("convfold.merge")
    right = module._composed

    def wrong(*args: Any) -> Any:
        merged = right(*args)
        return replace(merged, whole=MISTAKES[name](merged.whole))

    monkeypatch.setattr(module, "_composed", wrong)
    with pytest.raises(
        VerificationFailed, match=r"merge\(Conv2d, BatchNorm2d, Conv2d\) differs .* by .* at"
    ) as failure:
        convfold.merge(layers())
    assert "\n" not in str(failure.value) and "check=False" in str(failure.value)
    with pytest.raises(VerificationFailed):
        convfold.merge([m.float() for m in layers()])
    convfold.merge(layers(), check=False)  # and it can be told not to look


@pytest.mark.parametrize("wrong", ["ring", "corner", "interior"])
def test_a_wrong_border_is_seen(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interior right and the ring not, a single corner, or the other way round."""
    from convfold.layers.bordered import Bordered

    right = Bordered.forward

    def forward(self: Bordered, x: Tensor) -> Tensor:
        y = right(self, x)
        if min(y.shape[2:]) > 4:  # at the smallest sizes all is right
            place = {"ring": (..., 0), "corner": (..., 0, 0), "interior": (..., 3, 3)}[wrong]
            y[place] = y[place] + 1e-4
        return y

    monkeypatch.setattr(Bordered, "forward", forward)
    modules = double(nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1)))
    with pytest.raises(VerificationFailed, match="differs"):
        convfold.merge(*modules)


@pytest.mark.parametrize("parity", [0, 1])
def test_a_mistake_at_some_sizes_is_seen(parity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a size depends on the remainder of a stride."""
    right = nn.Conv2d._conv_forward

    def forward(self: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y = right(self, x, weight, bias)
        return 1.001 * y if x.shape[3] % 2 == parity and self.stride != (1, 2) else y

    modules = layers()
    modules[2].stride = (1, 2)  # all that is known strides, what is made of them strides by 4
    monkeypatch.setattr(nn.Conv2d, "_conv_forward", forward)
    with pytest.raises(VerificationFailed, match="differs"):
        convfold.merge(modules)


def test_hoisted_padding_is_compared_within_the_border(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = double(nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1)))
    with pytest.warns(BorderChanged):
        convfold.merge(*modules, border="hoist")
    right = Link.value
    monkeypatch.setattr(Link, "value", lambda self, endless=False: right(self, endless) * 1.001)
    with pytest.raises(VerificationFailed, match="differs"):
        convfold.merge(*modules, border="hoist")


def test_what_cannot_be_compared_is_not_passed() -> None:
    nan = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        nan.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(VerificationFailed, match=r"nothing to compare the result by: .* not finite"):
        convfold.merge(nan)
    never = nn.ConvTranspose2d(3, 4, 3)
    never.padding = 1  # torch wants a tuple
    with pytest.raises(VerificationFailed, match=r"nothing to compare the result by: .*AssertionError: self\.padding"):
        convfold.merge(never)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_sums_that_nearly_cancel_are_not_mistakes(dtype: torch.dtype) -> None:
    """Statistics far from zero, a block that is almost nothing: what float64 itself rounds is allowed."""
    norm = nn.BatchNorm2d(3).eval()
    with torch.no_grad():
        norm.running_mean.fill_(1e3)
        norm.running_var.fill_(1e-2)
        norm.bias.fill_(1e3 / (1e-2 + 1e-5) ** 0.5)
    convfold.merge(norm.to(dtype), nn.Conv2d(3, 2, 3, dtype=dtype))
    conv = nn.Conv2d(3, 3, 3, padding=1, bias=False, dtype=dtype)
    convfold.merge(Net(lambda m, x: m.conv(x) - m.conv(x) * (1 - 2**-20), conv=conv))
    large = nn.Linear(3, 3, dtype=dtype)
    with torch.no_grad():
        large.weight.mul_(1e4)
    convfold.merge(large, large, large)


def test_the_modules_are_as_they_were() -> None:
    modules = layers()
    tensors = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    before = [(t, t._version, t.grad) for t in tensors]
    random = torch.get_rng_state()
    merged = convfold.merge(*modules)
    assert torch.equal(torch.get_rng_state(), random)
    for p, (q, version, grad) in zip(
        (p for m in modules for p in (*m.parameters(), *m.buffers())), before, strict=True
    ):
        assert p is q and p._version == version and p.grad is grad
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
    assert not {id(p) for p in merged.parameters()} & {id(p) for m in modules for p in m.parameters()}


def test_no_check_where_there_are_no_numbers() -> None:
    with torch.device("meta"):
        modules = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4).eval(), nn.AvgPool2d(2), RepVGG().eval()]
    merged = convfold.merge(modules)
    assert {p.device.type for p in merged.parameters()} == {"meta"}
    assert merged(torch.empty(2, 3, 9, 8, device="meta")).shape == (2, 4, 4, 4)
    value = convfold.Convolution.of(modules[0]) - 2 * convfold.Convolution.of(StdMeta())
    assert value.kernel.is_meta and value.geometry.taps == (3, 3)


class StdMeta(nn.Conv2d):
    def __init__(self) -> None:
        super().__init__(3, 4, 3, padding=1, device="meta")

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight / self.weight.norm(), self.bias)


def test_folding_on_the_meta_device() -> None:
    with torch.device("meta"):
        net, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval(), torch.empty(2, 3, 9, 8)
    with pytest.raises(convfold.InvalidInput, match=r"meta device .* FoldConfig\(verify=False\)"):
        convfold.fold(net, x, config=convfold.FoldConfig(objective="macs"))
    result = convfold.fold(net, x, config=convfold.FoldConfig(objective="macs", verify=False))
    assert result.report.after.batch_norms == 0 and result.module(x).is_meta


def test_under_a_fake_mode_and_func() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        merged = convfold.merge(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3))
        assert merged(torch.empty(1, 3, 8, 9)).shape == (1, 2, 4, 5)
    modules = nn.ModuleList(layers())

    class Merging(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = modules

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = convfold.merge(self.parts)(x)
            return y

    net, x = Merging(), noise(2, 4, 6, 7)
    weights = {name: p.detach() for name, p in net.named_parameters()}
    chain = nn.Sequential(*modules)

    def loss(module: nn.Module, prefix: str) -> Callable[[dict[str, Tensor]], Tensor]:
        def of(w: dict[str, Tensor]) -> Tensor:
            given = {prefix + name.removeprefix("parts."): t for name, t in w.items()}
            y: Tensor = torch.func.functional_call(module, given, (x,)).square().sum()
            return y

        return of

    got, expected = torch.func.grad(loss(net, "parts."))(weights), torch.func.grad(loss(chain, ""))(weights)
    for name in weights:
        assert_close(got[name], expected[name], name, 1e-11)
