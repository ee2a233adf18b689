"""The pass that makes an exported graph functional, against the module itself and against torch's second trace."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import OutputKind
from torch.nn import functional as F
from torch.utils import _pytree as pytree

import zoo
from convfold.frontends.torch.functionalise import functional
from convfold.frontends.torch.read import export
from convfold.frontends.torch.unlift import unlift

Body = Callable[..., Any]


class Model(nn.Module):
    """Some layers and buffers, and a forward pass to try."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body
        self.linear = nn.Linear(6, 6)
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.randn(4, 6))
        self.register_buffer("other", torch.randn(4, 6), persistent=False)
        self.register_buffer("cache", torch.zeros(2, 5, 6))
        self.constant = torch.arange(6.0)

    def forward(self, *args: Tensor) -> Any:
        return self.body(self, *args)


def retrace_forbidden() -> Any:
    return patch.object(ExportedProgram, "run_decompositions", side_effect=AssertionError("traced again"))


def check(model: nn.Module, *args: Tensor, dynamic: Any = "static", retrace: bool = True) -> ExportedProgram:
    """Outputs, buffers and inputs after each of two calls: the same as the module's, and as after torch's own."""
    program = export(model.eval(), args, {}, dynamic)
    with retrace_forbidden():
        new = functional(program)
    for node in new.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        assert schema is None or not schema.is_mutable, f"{node} writes"
    folded = unlift(new).module()
    compare(copy.deepcopy(model), folded, args)
    compare(copy.deepcopy(model), new.module(check_guards=False), args)
    if retrace:
        other = program.run_decompositions({})
        assert [s.kind for s in new.graph_signature.output_specs] == [
            s.kind for s in other.graph_signature.output_specs
        ]
        assert [s.target for s in new.graph_signature.output_specs] == [
            s.target for s in other.graph_signature.output_specs
        ]
        compare(unlift(other).module(), unlift(new).module(), args)
    return new


def compare(model: nn.Module, other: nn.Module, args: tuple[Tensor, ...]) -> None:
    for _ in range(2):
        ours, theirs = [x.clone() for x in args], [x.clone() for x in args]
        with torch.no_grad():
            expected = pytree.tree_leaves(model(*ours))
            got = pytree.tree_leaves(other(*theirs))
        for a, b in zip(expected, got, strict=True):
            torch.testing.assert_close(b, a)
            assert not isinstance(a, Tensor) or a.shape == b.shape
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(b, a)
        held, others = dict(model.named_buffers()), dict(other.named_buffers())
        for name in held.keys() & others.keys():
            torch.testing.assert_close(others[name], held[name])


def on_views(m: Model, x: Tensor) -> Any:
    y = m.linear(x)
    before = y * 1
    row, column, flat = y[1], y[:, 2], y.view(-1)
    y[:, 0].add_(1)
    flat[3:].mul_(2)
    y.T.sub_(0.5)
    y.t()[1].zero_()
    return before, row, column, flat, y


def on_transposes(m: Model, x: Tensor) -> Any:
    y = m.linear(x).reshape(2, 2, 6)
    y.permute(2, 0, 1)[1].mul_(3)
    y.transpose(0, 1)[0].add_(1)
    y.movedim(2, 0)[0].fill_(7)
    y.swapaxes(0, 2)[3].neg_()
    y.mT[:, 4].abs_()
    y.diagonal(dim1=0, dim2=1).sub_(1)
    y.unsqueeze(1).squeeze(1)[0, 0].exp_()
    y.flatten(1)[:, -1] += 1
    y.unflatten(2, (2, 3))[..., 1] *= 2
    y.expand_as(y)[0].mul_(0.3)
    y.narrow(2, 1, 2).add_(1)
    return y


def on_parts(m: Model, x: Tensor) -> Any:
    y = m.linear(x)
    a, b = y.chunk(2, 1)
    b.add_(1)
    c, d, e = y.split([1, 2, 3], 1)
    e.mul_(2)
    first, *_, last = y.unbind(0)
    last.sub_(first)
    u, v, w, z = torch.tensor_split(y, 4, 1)
    z.fill_(0.25)
    return a, b, c, d, e, first, last, u, v, w, y


def on_activations(m: Model, x: Tensor) -> Any:
    y = m.linear(x)
    y.relu_().mul_(2).clamp_(0, 1.5).add_(x, alpha=0.5)
    F.dropout(F.leaky_relu(F.silu(y, inplace=True), inplace=True), 0.3, training=False, inplace=True)
    y -= y.mean()
    y **= 2
    return y


def through_dropout(m: Model, x: Tensor) -> Any:
    y = m.linear(x)
    z = m.dropout(y)
    v = z.view(-1)
    y.add_(1)
    z[0].mul_(2)
    v[5:9].neg_()
    return y, z, v, y.contiguous().to(torch.float32).detach()


def counted(m: Model, x: Tensor) -> Any:
    m.count += 1
    m.mean.mul_(0.9).add_(m.linear(x), alpha=0.1)
    return x + m.mean, m.count


def swapped(m: Model, x: Tensor) -> Any:
    old = m.mean.clone()
    m.mean.copy_(m.other)
    m.other.copy_(old)
    return x + m.mean


def transposed_into_another(m: Model, x: Tensor) -> Any:
    m.mean[:, :4] = m.other[:, :4].T
    m.other.view(-1)[:4] = m.mean[0, :4]
    return x + m.mean - m.other


def cached(m: Model, x: Tensor) -> Any:
    m.cache[:, 1:3].copy_(m.linear(x).view(2, 2, 6))
    m.cache[0, 4] = x[0]
    m.cache[:, 0, 0] += 1
    return m.cache.sum(1), m.cache


def indexed(m: Model, x: Tensor) -> Any:
    y = m.linear(x)
    i = torch.tensor([0, 2])
    y[i] = x[i] * 2
    y[:, i] += 1
    y[y > 0.5] = -1.0
    y[1, 1:4] = torch.tensor([1.0, 2.0, 3.0])
    y.masked_fill_(y < -0.5, 0.0)
    y.index_fill_(1, i, 4.0)
    y.scatter_(0, torch.zeros(1, 6, dtype=torch.int64), 9.0)
    return y


def cast(m: Model, x: Tensor) -> Any:
    y = m.linear(x).half()
    y.add_(x)
    y[0].copy_(x[1])
    n = torch.zeros(4, 6, dtype=torch.int32)
    n.copy_(x * 10)
    z = torch.empty(3, 6)
    z.copy_(x[0])
    return y, n, z


def on_inputs(m: Model, x: Tensor, y: Tensor) -> Any:
    x.add_(1)
    y[0].copy_(x[1])
    return x.view(-1), y, x[0] + y[1]


def input_of_another(m: Model, x: Tensor, y: Tensor) -> Any:
    kept = x.clone()
    x.copy_(y.flip(0))
    y.copy_(kept)
    return x - y


def returning_aliases(m: Model, x: Tensor) -> Any:
    y = m.linear(x)
    return x, x[0], y, y, y.view(-1), m.dropout(x), y.detach(), m.constant


def accumulating(m: Model, x: Tensor) -> Any:
    y = torch.zeros_like(x)
    for i in range(4):
        y += m.linear(x) * i
        x = x + y
    outs = x.new_empty(4, 4, 6)
    for i in range(4):
        outs[i] = x * i
    return y, outs


def without_gradients(m: Model, x: Tensor) -> Any:
    y = m.linear(x)
    with torch.no_grad():
        y.mul_(2)
        z = m.linear(y)
    with torch.enable_grad():
        y.add_(1)
        w = m.linear(z)
        w[0].zero_()
    z.sub_(1)
    return y, z.detach(), w


def of_itself(m: Model, x: Tensor) -> Any:
    y = m.linear(x)
    y.add_(y)
    y[0].add_(y[1])
    y.mul_(y.view(-1).sum())
    y.copy_(y)
    return y


def constants_changed(m: Model, x: Tensor) -> Any:
    t = torch.tensor([1.0, 2.0, 3.0])
    t[0] = 5
    u = torch.zeros(6)
    u[1:4] += t
    return x * u


def reshaped_copies(m: Model, x: Tensor) -> Any:
    y = m.linear(x)
    copied, shared = y.T.reshape(-1), y.reshape(-1)
    y.add_(1)
    copied.mul_(2)
    shared[3:5].zero_()
    return y, copied, shared, y.T.contiguous()


def selected(m: Model, x: Tensor) -> Any:
    """How many there are only a run tells."""
    y = x[x > 0.5]
    y.mul_(2)
    z = y.unsqueeze(1).contiguous()
    z[:, 0] += 1
    return z.flatten(), y.reshape(-1)


ONE = [
    on_views, on_transposes, on_parts, on_activations, counted, swapped, transposed_into_another,
    cached, indexed, cast, returning_aliases, accumulating, of_itself, constants_changed,
    reshaped_copies, selected,
]  # fmt: skip


@pytest.mark.parametrize("body", ONE, ids=lambda f: f.__name__)
def test_writes(body: Body) -> None:
    torch.manual_seed(0)
    check(Model(body), torch.rand(4, 6))


def test_dropout_of_nothing_returns_its_input() -> None:
    """As in eager mode; torch's second trace makes it a copy, which writes do not reach."""
    check(Model(through_dropout), torch.randn(4, 6), retrace=False)


def test_gradient_modes_are_inlined() -> None:
    """Torch's second trace stumbles over this one: ``IndexError`` in ``_produce_aten_artifact``."""
    check(Model(without_gradients), torch.randn(4, 6), retrace=False)


@pytest.mark.parametrize("body", [on_inputs, input_of_another], ids=lambda f: f.__name__)
def test_writes_into_inputs(body: Body) -> None:
    check(Model(body), torch.randn(4, 6), torch.randn(4, 6))


def strided(m: Model, x: Tensor) -> Any:
    y = m.linear(x)
    y.as_strided((3,), (2,)).add_(1)
    return y


def metadata(m: Model, x: Tensor) -> Any:
    y = m.linear(x)
    y.unsqueeze_(0)
    y.add_(1)
    return y


def into_another(m: Model, x: Tensor) -> Any:
    y = torch.empty(4, 6)
    torch.add(x, 1, out=y)
    return y


def with_autocast(m: Model, x: Tensor) -> Any:
    with torch.autocast("cpu", torch.bfloat16):
        y = m.linear(x)
    return y.relu_()


@pytest.mark.parametrize("body", [strided, metadata, into_another, with_autocast], ids=lambda f: f.__name__)
def test_what_is_left_to_torch(body: Body) -> None:
    model = Model(body).eval()
    program = export(model, (x := torch.randn(4, 6),), {}, "static")
    with retrace_forbidden(), pytest.raises(AssertionError, match="traced again"):
        functional(program)
    compare(copy.deepcopy(model), unlift(functional(program)).module(), (x,))


class Net(nn.Module):
    """A residual net with everything in place."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.n, self.act, self.drop = nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout2d(0.2, inplace=True)

    def forward(self, x: Tensor) -> Any:
        x = self.act(self.n(self.a(x)))
        y = self.b(self.drop(x))
        y += x
        y[:, :2].clamp_(-1, 1)
        first, second = self.act(y).chunk(2, 1)
        return torch.cat([first.flatten(1), second.mul_(2).reshape(x.shape[0], -1), x.expand_as(y).flatten(1)], 1)


def test_free_sizes() -> None:
    model = Net().eval()
    folded = unlift(check(model, torch.randn(2, 3, 8, 9), dynamic=None)).module()
    compare(copy.deepcopy(model), folded, (torch.randn(5, 3, 8, 9),))
    shapes = ({0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO},)
    program = functional(export(model, (torch.randn(2, 3, 8, 9),), {}, shapes))
    compare(copy.deepcopy(model), unlift(program).module(), (torch.randn(3, 3, 12, 7),))


def test_a_batch_of_one_too() -> None:
    model = Net().eval()
    program = functional(export(model, (torch.randn(1, 3, 8, 9),), {}, None))
    for n in (1, 2, 5):
        compare(copy.deepcopy(model), unlift(program).module(), (torch.randn(n, 3, 8, 9),))


def test_buffers_are_outputs_first() -> None:
    new = check(Model(counted), torch.randn(4, 6))
    kinds = [(s.kind, s.target) for s in new.graph_signature.output_specs]
    mutation = OutputKind.BUFFER_MUTATION
    assert kinds[:2] == [(mutation, "count"), (mutation, "mean")]


def test_the_program_given_is_not_changed() -> None:
    program = export(Net().eval(), (torch.randn(2, 3, 8, 9),), {}, None)
    before, signature = str(program.graph), str(program.graph_signature)
    functional(program)
    assert (str(program.graph), str(program.graph_signature)) == (before, signature)


def test_from_a_file() -> None:
    """Its values no longer say what shares memory: writes are left to torch, a program without any is not."""
    for model in (Net(), nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())):
        x = torch.randn(2, 3, 8, 9)
        program = export(model.eval(), (x,), {}, None)
        file = io.BytesIO()
        torch.export.save(program, file)
        file.seek(0)
        loaded = torch.export.load(file)
        if isinstance(model, nn.Sequential):
            with retrace_forbidden():
                functional(loaded)
        compare(copy.deepcopy(model), unlift(functional(loaded)).module(), (x,))


def test_once_functional_stays_so() -> None:
    program = functional(export(Model(counted).eval(), (torch.randn(4, 6),), {}, "static"))
    with retrace_forbidden():
        again = functional(program)
    assert str(again.graph_signature) == str(program.graph_signature)


def test_training_statistics_are_left_to_torch() -> None:
    program = export(nn.Sequential(nn.BatchNorm2d(3)).train(), (torch.randn(2, 3, 4, 4),), {}, "static")
    kinds = {s.kind for s in functional(program).graph_signature.output_specs}
    assert OutputKind.BUFFER_MUTATION in kinds


@pytest.mark.parametrize("name", [name for name in zoo.names() if name.startswith("tiny-")])
def test_the_zoo_is_traced_once(name: str) -> None:
    case = zoo.build(name)
    program = export(case.model, case.args, case.kwargs, None)
    with retrace_forbidden():
        new = functional(program)
    with torch.no_grad():
        expected = pytree.tree_leaves(case.model(*case.args, **case.kwargs))
        got = pytree.tree_leaves(unlift(new).module()(*case.args, **case.kwargs))
    for a, b in zip(expected, got, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-4)
