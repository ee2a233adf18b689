"""Every kind of wrong fold is caught by verification as `fold` does it, and the right one passes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import convfold
import zoo
from benchmarks.faults import FAULTS, Fault
from benchmarks.mutations import edited, examine, sound


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_fault_is_caught(fault: Fault) -> None:
    right, wrong = sound(fault), examine(fault)
    assert not right.caught, right.said
    assert wrong.caught, wrong.said


@pytest.mark.parametrize("name", ["plain", "bordered", "upsampled"])
def test_edits_of_a_folded_net_are_caught(name: str) -> None:
    """Each parameter and call in turn; `benchmarks.mutations` has all kinds of edits."""
    (_, right), *edits = edited(name, every=False)
    assert not right.caught, right.said
    assert edits and [edit for edit, found in edits if not found.caught] == []


def test_a_graph_read_wrongly_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it is compared with is the model itself, not the graph that was made of it."""
    import convfold.frontends.torch.exported as exported

    right = exported.normalise

    def wrong(graph: torch.fx.Graph) -> None:
        right(graph)
        for node in list(graph.nodes):
            if "relu" in str(node.target):
                node.replace_all_uses_with(node.args[0])
                graph.erase_node(node)

    monkeypatch.setattr(exported, "normalise", wrong)
    net = zoo.randomise(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1)).eval(), 0)
    with pytest.raises(convfold.VerificationFailed, match="differs: DIFFERENT"):
        convfold.fold(net, torch.randn(1, 3, 7, 6))
