"""A collapsed block in all that training loops do with modules."""

from __future__ import annotations

import copy
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import convfold
from convfold import FoldConfig
from convfold.errors import InvalidInput

C = 4
MACS = FoldConfig(objective="macs")


class Net(nn.Module):
    """A wide pair, a norm, a dropout, a second pair on its own branch."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = nn.Sequential(nn.Conv2d(C, 16, 3, padding=1), nn.Conv2d(16, C, 1))
        self.norm = nn.BatchNorm2d(C)
        self.drop = nn.Dropout(0.1)
        self.wide, self.narrow = nn.Conv2d(C, 16, 1), nn.Conv2d(16, 3, 1)

    def forward(self, x: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        y = torch.relu(self.norm(self.pair(x)))
        return {"y": self.narrow(self.wide(self.drop(y))) * scale, "features": y}


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return Net().double()


def image(n: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(n, C, 8, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def collapsed(model: nn.Module, x: Tensor | None = None) -> Any:
    return convfold.collapse(model, image() if x is None else x, config=MACS)


def loss(model: nn.Module, x: Tensor, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    y: Tensor = model(x)["y"]
    return y.square().mean()


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def assert_close(got: list[Tensor], expected: list[Tensor], tolerance: float = 1e-10) -> None:
    most = max(float(t.detach().norm()) for t in expected)
    for a, b in zip(got, expected, strict=True):
        assert (a - b).norm() <= tolerance * most


def test_the_block_itself_is_left_as_it_is(net: nn.Module) -> None:
    before = copy.deepcopy(net)
    got = collapsed(net)
    assert type(net) is Net and type(got).__name__ == "CollapsedNet" and isinstance(got, Net)
    assert vars(net).keys() == vars(before).keys()
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), before.state_dict().values(), strict=True))
    assert [m.training for m in net.modules()] == [m.training for m in before.modules()]
    assert convfold.collapse(got, image()) is got


def test_weights_are_composed_once_a_step(net: nn.Module) -> None:
    got = collapsed(net)
    composing = got.collapsed.of(got).composing
    optimizer = torch.optim.SGD(got.parameters(), 0.1)
    loss(got, image()).backward()
    first = composing.kept
    loss(got, image(seed=1)).backward()
    assert composing.kept is first
    both = gradients(net)
    net.zero_grad()
    for seed in range(2):
        loss(net, image(seed=seed)).backward()
    assert_close(both, gradients(net))
    optimizer.step()
    loss(got, image())
    assert composing.kept is not first
    got.eval()
    composing = got.collapsed.of(got).composing
    with torch.no_grad():
        got(image())
        first = composing.kept
        got(image(seed=1))
        assert composing.kept is first
        net.pair[0].weight.mul_(2.0)
        assert (got(image())["y"] - net.eval()(image())["y"]).abs().max() < 1e-12
    with torch.inference_mode():
        assert (got(image())["y"] - net(image())["y"]).abs().max() < 1e-12


def test_called_otherwise_it_computes_as_the_block_does(net: nn.Module) -> None:
    got = collapsed(net)
    larger = torch.randn(2, C, 11, 12, dtype=torch.float64)
    assert torch.equal(got.eval()(larger)["y"], net.eval()(larger)["y"])
    assert torch.equal(got(image(), 2.0)["y"], net(image(), 2.0)["y"])
    got.train()
    net.norm.eval()  # a mode it was not collapsed for
    assert got.collapsed.of(got) is None
    assert torch.equal(got(image())["features"], net(image())["features"])


class Picked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(C, 16, 1), nn.Conv2d(8, 3, 1)
        self.at = nn.Buffer(torch.arange(0, 16, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(self.wide(x).index_select(1, self.at))


def test_an_index_that_is_another_now(net: nn.Module) -> None:
    block = Picked().double()
    got = collapsed(block)
    assert got.collapsed.reports[0].after.macs < got.collapsed.reports[0].before.macs
    block.at.add_(1)
    assert torch.equal(got(image()), block(image()))


def test_checkpoints_fit_both_ways(net: nn.Module) -> None:
    got, other = collapsed(net), Net().double()
    loss(got, image()).backward()
    torch.optim.AdamW(got.parameters()).step()
    other.load_state_dict(got.state_dict())
    assert torch.equal(other.eval()(image())["y"], net.eval()(image())["y"])
    fresh = Net().double()
    got.load_state_dict(fresh.state_dict())
    assert_close([got.eval()(image())["y"]], [fresh.eval()(image())["y"]])
    got.load_state_dict(other.state_dict(), assign=True)
    assert_close([got(image())["y"]], [other(image())["y"]])


@pytest.mark.parametrize("how", ["copied", "pickled"])
def test_copies_have_weights_of_their_own(net: nn.Module, how: str) -> None:
    got = collapsed(net)
    got(image())
    if how == "copied":
        copied = copy.deepcopy(got)
    else:
        file = io.BytesIO()
        torch.save(got, file)
        file.seek(0)
        copied = torch.load(file, weights_only=False)
    assert {*map(id, copied.parameters())}.isdisjoint(map(id, got.parameters()))
    with torch.no_grad():
        for p in copied.parameters():
            p.add_(0.1)
    reference = Net().double()
    reference.load_state_dict(copied.state_dict())
    loss(copied, image()).backward()
    loss(reference, image()).backward()
    assert_close(gradients(copied), gradients(reference))
    assert copied.collapsed.of(copied).composing.kept is not None
    loss(got, image())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_another_type(net: nn.Module, dtype: torch.dtype) -> None:
    got = collapsed(net).to(dtype).eval()
    y = got(image().to(dtype))["y"]
    assert y.dtype == dtype and got.collapsed.of(got).composing.kept is not None
    expected = net.double().eval()(image())["y"]  # the same parameters
    assert (y.double() - expected).norm() <= 30 * torch.finfo(dtype).eps * expected.norm()


def test_autocast_and_scaled_gradients() -> None:
    torch.manual_seed(0)
    block = Net()
    expanded = copy.deepcopy(block)
    x = image().float()
    got = collapsed(block, x)
    found = []
    for model in (got, expanded):
        scaler = torch.amp.GradScaler("cpu")
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(model, x)
        scaler.scale(value).backward()
        scaler.unscale_(optimizer)
        found.append(gradients(model))
        scaler.step(optimizer)
        scaler.update()
    assert all(g.dtype == torch.float32 for g in found[0])
    assert_close(*found, tolerance=0.02)
    form = got.collapsed.of(got)
    assert form.composing.kept[1][0].dtype == torch.float32  # what is composed is cast where it is used


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing(net: nn.Module, reentrant: bool) -> None:
    expanded, got = copy.deepcopy(net), collapsed(net)
    for model in (got, expanded):
        for seed in range(2):
            x = image(seed=seed).requires_grad_()
            torch.manual_seed(0)
            y = checkpoint(lambda x, m=model: m(x)["y"], x, use_reentrant=reentrant)
            y.square().mean().backward()
    assert_close(gradients(net), gradients(expanded))


def test_functional_calls_and_transforms(net: nn.Module) -> None:
    got, expanded = collapsed(net).eval(), net
    other = {name: torch.randn_like(t) for name, t in net.named_parameters()}

    def value(model: nn.Module, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(model, weights, (x,))["y"]
        return y.square().sum()

    expanded.eval()
    pairs = [[torch.func.grad(value, 1)(model, other, image()) for model in (got, expanded)]]
    each = torch.func.vmap(lambda m, x: torch.func.grad(value, 1)(m, other, x[None]), in_dims=(None, 0))
    pairs += [[each(model, image(3)) for model in (got, expanded)]]
    for a, b in pairs:
        assert_close(list(a.values()), [b[name] for name in a])


def test_compiled_it_is_one_graph(net: nn.Module) -> None:
    net.drop.p = 0.0  # type: ignore[union-attr, assignment]
    expanded, got = copy.deepcopy(net), collapsed(net)
    compiled = torch.compile(got, backend="aot_eager", fullgraph=True)
    for step in range(2):
        got.zero_grad()
        expanded.zero_grad()
        loss(compiled, image(seed=step)).backward()
        loss(expanded, image(seed=step)).backward()
        assert_close(gradients(net), gradients(expanded))
        torch.optim.SGD(got.parameters(), 0.1).step()
        torch.optim.SGD(expanded.parameters(), 0.1).step()


def test_exported_and_folded_it_is_the_block(net: nn.Module) -> None:
    got = collapsed(net).eval()
    folded = convfold.fold(got, image(), config=MACS)
    assert folded.report.after.macs < folded.report.before.macs
    assert_close([folded.module(image())["y"]], [net.eval()(image())["y"]])


def test_hooks_of_the_block_fire(net: nn.Module) -> None:
    block = net.pair
    got, seen = collapsed(block), []
    got.register_forward_hook(lambda *_: seen.append("forward"))
    got.register_full_backward_hook(lambda *_: seen.append("backward"))
    got(image().requires_grad_()).sum().backward()
    assert seen == ["forward", "backward"]
    seen.clear()
    block(image())
    assert not seen


def test_what_a_loss_does_not_use_has_no_gradient(net: nn.Module) -> None:
    got = collapsed(net)
    got(image())["features"].square().mean().backward()
    assert all(p.grad is not None for p in net.pair.parameters())
    assert all(p.grad is None for m in (net.wide, net.narrow) for p in m.parameters())


def test_composing_has_to_pay() -> None:
    """On two pixels the pair costs less than composing its kernel."""
    block = nn.Sequential(nn.Conv2d(32, 64, 1), nn.Conv2d(64, 32, 1))
    got: Any = convfold.collapse(block, torch.randn(1, 32, 1, 2))
    (report, _) = got.collapsed.reports
    assert report.after.layers == 2
    assert ("does-not-pay", "composing it at each step costs more than it saves") in [
        (r.code, r.detail) for r in report.refused
    ]
    assert got(torch.randn(1, 32, 1, 2)).shape == (1, 32, 1, 2)


@pytest.mark.parametrize("bad", ["no module", "no inputs", "wrong inputs"])
def test_bad_input_is_one_line(net: nn.Module, bad: str) -> None:
    with pytest.raises(InvalidInput) as e:
        convfold.collapse("net" if bad == "no module" else net, None if bad == "no inputs" else torch.zeros(2, 3))  # type: ignore[arg-type]
    assert "\n" not in str(e.value)


# --- two processes ---


def _losses(rank: int, wrapped: bool, sharded: bool) -> Iterator[float]:
    """Of a few steps, each process with images of its own."""
    torch.manual_seed(0)
    model: nn.Module = Net()
    model.drop.p = 0.0  # type: ignore[union-attr, assignment]
    x = image().float()
    if wrapped:
        model = collapsed(model, x)
    if sharded:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
        parallel: nn.Module = model
    else:
        parallel = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(parallel.parameters(), 0.1, momentum=0.9)
    for step in range(4):
        optimizer.zero_grad()
        value = loss(parallel, image(seed=2 * step + rank).float())
        value.backward()
        optimizer.step()
        yield float(value)


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        found = [[list(_losses(rank, wrapped, sharded)) for wrapped in (True, False)] for sharded in (True, False)]
        torch.save(found, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def test_two_processes_see_the_same_losses() -> None:
    """Under FSDP2 and under DDP."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_process, (folder,), nprocs=2)
        for rank in range(2):
            for got, expected in torch.load(Path(folder) / f"{rank}.pt"):
                assert got == pytest.approx(expected, rel=1e-5)
