"""What is done with a folded module afterwards: pickled, copied, cast, moved, saved, exported and folded again."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convfold
from tests.folding import Net, assert_same, calls, double, noise
from tests.laws.oracle import assert_close

MACS = convfold.FoldConfig(objective="macs", verify=False)


def saved(module: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)  # type: ignore[no-any-return]


COPIES = {
    "pickle": lambda m: pickle.loads(pickle.dumps(m)),
    "torch.save": saved,
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}

RECURRENT = {
    "GRU": nn.GRU(6, 4, num_layers=2, batch_first=True),
    "LSTM": nn.LSTM(6, 4, bidirectional=True, batch_first=True),
    "projected LSTM": nn.LSTM(6, 4, proj_size=3, batch_first=True),
    "RNN": nn.RNN(6, 4, num_layers=2, bidirectional=True, batch_first=True),
}


def recurrent(kind: str) -> nn.Module:
    """A pair of linear layers and a norm before, a pair after."""
    layer = copy.deepcopy(RECURRENT[kind])
    width = (layer.proj_size or layer.hidden_size) * (1 + layer.bidirectional)

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.norm(m.before(x).flatten(0, 1)).view(x.shape[0], x.shape[1], 6)
        return m.after(m.layer(y)[0])  # type: ignore[no-any-return]

    return double(
        Net(
            forward,
            before=nn.Sequential(nn.Linear(5, 9), nn.Linear(9, 6)),
            norm=nn.BatchNorm1d(6),
            layer=layer,
            after=nn.Sequential(nn.Linear(width, 9), nn.Linear(9, 3)),
        )
    )


@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_layers(kind: str, tmp_path: Path) -> None:
    """Their first state is made on the way, as large as the batch: neither pickled, nor of another type, before."""
    net = recurrent(kind)
    result = convfold.fold(net, noise(2, 7, 5), config=convfold.FoldConfig(objective="macs"))
    assert calls(result)["linear"] == 2 and result.report.after.batch_norms == 0
    for made in (pickle.loads(pickle.dumps(result.module)), copy.deepcopy(result.module)):
        assert_same(made, net, [(2, 7, 5)])
    for dtype in (torch.float32, torch.bfloat16):
        cast, x = copy.deepcopy(result.module).to(dtype), noise(3, 7, 5, dtype=dtype)
        with torch.no_grad():
            y = cast(x)
            assert y.dtype == dtype
            assert_close(y.double(), net(x.double()), tolerance=100 * torch.finfo(dtype).eps)
    result.save(tmp_path / "net.pt2")
    again = convfold.fold(tmp_path / "net.pt2", config=MACS)
    assert not again.report.changed
    assert_same(again.module, net, [(2, 7, 5)])


class TestCopies:
    @pytest.mark.parametrize("how", COPIES.values(), ids=COPIES)
    @pytest.mark.parametrize(
        "function",
        [
            lambda m, x: m.pair(x) + torch.zeros(x.shape[0], 1, 4, dtype=x.dtype),
            lambda m, x: m.pair(x) * torch.arange(x.shape[1], dtype=x.dtype).unsqueeze(1),
            lambda m, x: F.interpolate(m.pair(x), size=x.shape[1] + 1),
            lambda m, x: {"a": (m.pair(x), [x.sum()]), "b": None, "c": x.shape[0]},
            lambda m, x: m.pair(x) + m.unsaved,
        ],
    )
    def test_compute_the_same(self, how: Callable[[nn.Module], nn.Module], function: Callable[..., Any]) -> None:
        net = double(Net(function, pair=nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 4))))
        net.register_buffer("unsaved", noise(4), persistent=False)
        result = convfold.fold(net, noise(2, 3, 4), config=MACS)
        made = how(result.module)
        assert_same(made, net, [(2, 3, 4)])
        assert type(made).__name__ == type(result.module).__name__ and made.code == result.module.code
        assert list(made.state_dict()) == list(result.module.state_dict())
        assert not made.training and "unsaved" not in made.state_dict()

    @pytest.mark.parametrize("how", COPIES.values(), ids=COPIES)
    def test_refuse_the_same(self, how: Callable[[nn.Module], nn.Module]) -> None:
        """The hooks that check inputs were lost."""
        net = double(nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 4)))
        made = how(convfold.fold(net, noise(2, 3, 4), config=MACS).module)
        with pytest.raises(convfold.InvalidInput, match=r"expected shape \(any, 3, 4\), got \(2, 5, 4\)"):
            made(noise(2, 5, 4))

    def test_are_independent(self) -> None:
        net = double(nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 4)))
        module = convfold.fold(net, noise(2, 4), config=MACS).module
        for how in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
            with torch.no_grad():
                next(how.parameters()).zero_()
        assert_same(module, net, [(2, 4)])

    def test_a_long_graph(self) -> None:
        """Calls refer to each other like a linked list, which pickle would walk along."""
        net = Net(lambda m, x: [x := (x * 1.5).sigmoid() for _ in range(600)][-1])
        module = convfold.fold(net, noise(2, 3), dynamic_shapes="static", config=MACS).module
        x = noise(2, 3)
        assert_close(pickle.loads(pickle.dumps(module))(x), net(x), tolerance=0)


class TestCast:
    """An exported program says float32 where the model said "like my input"."""

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
    @pytest.mark.parametrize(
        "function",
        [
            lambda m, x: torch.zeros_like(m.pair(x)).scatter_add(1, m.index.expand(x.shape[0], -1, -1), m.pair(x)),
            lambda m, x: torch.baddbmm(x.new_ones(1, 1, 1), m.pair(x), x.mT),
            lambda m, x: torch.baddbmm(x.new_full((1, 1, 1), -2.5), m.pair(x), x.mT),
            lambda m, x: m.pair(x) @ m.mask.to(x.dtype),
            lambda m, x: m.pair(x) @ m.bytes.type_as(x),
            lambda m, x: torch.bmm(torch.zeros(x.shape[0], 3, 3, dtype=x.dtype).masked_fill(m.rows, -1.0), m.pair(x)),
        ],
    )
    def test_follows(self, function: Callable[..., Tensor], dtype: torch.dtype) -> None:
        net = Net(
            function,
            pair=nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 4)),
            index=torch.randint(0, 3, (1, 3, 4)),
            mask=torch.rand(4, 4) > 0.5,
            bytes=torch.randint(0, 200, (4, 4), dtype=torch.uint8),
            rows=torch.ones(3, 3).triu(1) > 0,
        ).eval()
        module = convfold.fold(net, torch.randn(2, 3, 4), config=convfold.FoldConfig(objective="macs")).module
        x = noise(5, 3, 4, dtype=dtype)
        with torch.no_grad():
            y = module.to(dtype)(x)
            assert y.dtype == dtype
            eps = torch.finfo(dtype).eps + 1e-8  # its weights were float32
            assert_close(y.double(), net.to(torch.float64)(x.double()), tolerance=20 * eps)

    def test_and_a_move(self) -> None:
        net = Net(
            lambda m, x: torch.zeros_like(m.pair(x)).scatter_add(1, m.index.expand(x.shape[0], -1, -1), m.pair(x)),
            pair=nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 4)),
            index=torch.randint(0, 3, (1, 3, 4)),
        ).eval()
        module = convfold.fold(net, torch.randn(2, 3, 4), config=MACS).module.to("meta")
        assert module(torch.empty(5, 3, 4, device="meta")).device.type == "meta"

    def test_numbers_that_narrow_types_do_not_hold_stay_as_they_are(self) -> None:
        net = Net(
            lambda m, x: torch.minimum(torch.maximum(m.pair(x), torch.full((1,), 0.1)), torch.full((1,), 1e9)),
            pair=nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 4)),
        ).eval()
        module = convfold.fold(net, torch.randn(2, 4), config=MACS).module
        made = [n for n in module.graph.nodes if "full" in str(n.target)]
        assert [n.target for n in made] == [torch.ops.aten.full.default] * 2
