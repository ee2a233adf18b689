"""EDSR's tail, folded across its shuffles: exact on every pixel, at every size, sizes known and free."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.export import Dim

import convfold
import zoo
from tests.folding import double, noise
from tests.laws.oracle import assert_close, assert_close_apart
from zoo.own import edsr_tail

FREE = ({0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO},)


def test_the_tail_at_its_size() -> None:
    case = zoo.build("edsr-tail-x4")
    result = convfold.fold(case.model, case.args)
    report = result.report
    assert report.before.macs >= 8 * report.after.macs  # the ring included
    assert report.error is not None and report.error.passed
    (border,) = report.borders
    assert border.way.startswith("kernels") and 0 < border.macs < 0.1 * report.after.macs
    assert {(g.beyond, g.data) for g in border.ghosts} == {(((1, 1), (1, 1)), True)}
    assert [g.size for g in border.ghosts] == [(64, 96, 96), (64, 192, 192)]
    x = noise(1, 64, 48, 48)
    with torch.no_grad():
        expected = copy.deepcopy(case.model).double()(x)
        assert_close_apart(result.module.double()(x), expected, (2, 3), "rounded weights", 3, tolerance=1e-6)


def test_the_whole_network_has_29_per_cent_fewer() -> None:
    case = zoo.build("edsr-baseline-x4")
    report = convfold.explain(case.model, case.args)
    assert report.after.macs <= 0.71 * report.before.macs


@pytest.mark.parametrize("size", [(5, 5), (3, 3), (1, 1), (2, 7), (1, 12)])
def test_at_sizes_that_are_all_ring(size: tuple[int, int]) -> None:
    net = double(edsr_tail(8))
    x = noise(2, 8, *size)
    result = convfold.fold(net, (x,), config=convfold.FoldConfig(objective="macs"))
    with torch.no_grad():
        assert_close(result.module(x), net(x))
        assert_close(convfold.merge(*net)(x), net(x), "merge")


def test_one_folded_module_at_many_sizes(tmp_path: object) -> None:
    """Height and width free: kernels for each end, the same at every size; exact in images smaller than they read."""
    net, x, config = double(edsr_tail(8)), noise(2, 8, 24, 20), convfold.FoldConfig(objective="macs")
    result = convfold.fold(net, (x,), dynamic_shapes=FREE, config=config)
    assert len(result.report.free) == 3
    assert result.report.after.macs == convfold.explain(net, (x,), config=config).after.macs
    assert [b.way for b in result.report.borders] == ["kernels of its own for every edge and corner"]
    path = f"{tmp_path}/tail.pt2"
    result.save(path)
    saved = torch.export.load(path).module()
    for size in ((24, 20), (17, 40), (5, 5), (3, 2), (1, 1), (1, 30)):
        x = noise(3, 8, *size)
        with torch.no_grad():
            expected = net(x)
            assert_close(result.module(x), expected, f"{size}")
            assert_close(saved(x), expected, f"saved, {size}")


def test_a_stride_and_free_sizes() -> None:
    """From the high end a strip begins where the strides fall as they do on the whole."""
    net = double(
        torch.nn.Sequential(
            torch.nn.Conv2d(2, 24, 3, stride=2, padding=1),
            torch.nn.Conv2d(24, 2, 3, stride=(1, 3), padding=(2, 1)),
        )
    )
    result = convfold.fold(
        net, (noise(2, 2, 120, 124),), dynamic_shapes=FREE, config=convfold.FoldConfig(objective="macs")
    )
    assert result.report.borders
    for size in ((40, 44), (41, 45), (39, 43), (9, 46), (2, 3), (1, 1), (30, 47)):
        x = noise(2, 2, *size)
        with torch.no_grad():
            assert_close(result.module(x), net(x), f"{size}")


@pytest.mark.parametrize("pads", [(1, 1), (2, 1, 1)])
def test_what_is_circular_stays_so_at_free_sizes(pads: tuple[int, ...], tmp_path: object) -> None:
    """The one pad goes round as often as it takes: of maps that are shorter than it, too."""
    channels = [3, *[24] * (len(pads) - 1), 3]
    convs = [
        torch.nn.Conv2d(c, d, 2 * p + 1, padding=p, padding_mode="circular")
        for p, c, d in zip(pads, channels, channels[1:], strict=False)
    ]
    net = double(torch.nn.Sequential(*convs))
    result = convfold.fold(
        net, (noise(2, 3, 20, 24),), dynamic_shapes=FREE, config=convfold.FoldConfig(objective="macs")
    )
    known = convfold.explain(net, (noise(2, 3, 20, 24),), config=convfold.FoldConfig(objective="macs"))
    assert len(result.report.free) == 3 and result.report.after.layers == 1
    assert result.report.after.macs == known.after.macs < result.report.before.macs
    result.save(f"{tmp_path}/round.pt2")
    saved = torch.export.load(f"{tmp_path}/round.pt2").module()
    for size in ((20, 24), (2, 2), (3, 17), (2, 5)):
        x = noise(3, 3, *size)
        with torch.no_grad():
            assert_close(result.module(x), net(x), f"{size}")
            assert_close(saved(x), net(x), f"saved, {size}")


def test_the_folded_border_trains_and_exports() -> None:
    net = double(edsr_tail(4))
    x = noise(1, 4, 14, 15)
    result = convfold.fold(net, (x,), config=convfold.FoldConfig(objective="macs"))
    assert result.report.borders
    exported = torch.export.export(result.module, (x,)).module()
    x.requires_grad_()
    (expected,) = torch.autograd.grad(net(x).square().sum(), x)
    (got,) = torch.autograd.grad(result.module(x).square().sum(), x)
    assert_close(got, expected)
    assert_close(exported(x).detach(), net(x).detach())
    y = result.module(x)
    y.sum().backward()
    assert all(p.grad is not None for p in result.module.parameters())
