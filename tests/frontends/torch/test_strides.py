"""Values that the caller, attention or another's operator reads are laid out as they were."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import convfold
from tests.folding import randomised


class Net(nn.Module):
    """Two pointwise convolutions, which become one; what is computed of them differs."""

    def __init__(self, tail):
        super().__init__()
        self.a, self.b = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 24, 1)
        self.tail = tail

    def forward(self, x: Tensor):
        return self.tail(self.b(self.a(x.relu())))


def folded(tail) -> tuple[nn.Module, nn.Module, Tensor]:
    net, x = randomised(Net(tail)), torch.randn(2, 8, 6, 5)
    result = convfold.fold(net, (x,))
    assert result.report.after.macs < result.report.before.macs
    return net, result.module, x


def called(module: nn.Module) -> list[object]:
    return [n.target for n in module.graph.nodes if n.op == "call_function"]


def qkv(y: Tensor) -> Tensor:
    return y.reshape(len(y), 3, 2, 4, 30).permute(1, 0, 2, 4, 3)


ATTENTION = {
    "a copy before its parts": lambda y: F.scaled_dot_product_attention(*qkv(y).contiguous().unbind(0)),
    "copies of the parts": lambda y: F.scaled_dot_product_attention(*(t.contiguous() for t in qkv(y).unbind(0))),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_stays_fused(name):
    net, module, x = folded(ATTENTION[name])
    for model in (net, module):
        with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU]) as seen:
            model(x)
        names = {event.key for event in seen.key_averages()}
        assert any("flash_attention" in n for n in names) and not any("attention_math" in n for n in names)
    torch.testing.assert_close(module(x), net(x))


RETURNED = {
    "channels last, copied": lambda y: y.permute(0, 2, 3, 1).contiguous(),
    "tokens, copied": lambda y: y.flatten(2).transpose(1, 2).contiguous(),
    "several": lambda y: (y, y.transpose(2, 3).contiguous(), y.mean((2, 3))),
    "a part of a copy": lambda y: y.permute(1, 0, 2, 3).contiguous()[3],
}


@pytest.mark.parametrize("name", RETURNED)
def test_the_caller_may_call_view(name):
    net, module, x = folded(RETURNED[name])
    for before, after in zip(*(torch.utils._pytree.tree_leaves(m(x)) for m in (net, module)), strict=True):
        assert before.is_contiguous() and after.is_contiguous()
        torch.testing.assert_close(after.view(-1), before.view(-1))


def test_what_needs_no_copy_gets_none():
    _, module, _ = folded(lambda y: F.scaled_dot_product_attention(*qkv(y).transpose(3, 4).unbind(0)).relu())
    assert torch.ops.aten.contiguous.default not in called(module)


def test_a_second_fold_changes_nothing():
    _, module, x = folded(ATTENTION["a copy before its parts"])
    again = convfold.fold(module, (x,))
    assert not again.report.applied
    assert called(again.module) == called(module)
    assert again.module(x).equal(module(x))


@torch.library.custom_op("convfold_tests::first_rows", mutates_args=())
def first_rows(x: Tensor) -> Tensor:
    """As a kernel would that takes memory as it lies."""
    return torch.as_strided(x, (3, 5), (5, 1)).clone()


@first_rows.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(3, 5)


def test_an_operator_of_others_gets_what_it_was_given():
    net, module, x = folded(lambda y: first_rows(y.transpose(0, 1).contiguous()))
    torch.testing.assert_close(module(x), net(x))
