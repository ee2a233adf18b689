"""``python -m zoo [NAME...]``: the figures of each model, and of its hand-merged network where it has one."""

from __future__ import annotations

import sys

import torch

import zoo


@torch.no_grad()
def main(names: list[str]) -> None:
    print(f"{'model':20} {'MMACs':>9} {'layers':>6} {'norms':>5} {'Mparams':>7}   merged by hand")
    for name in names or zoo.names():
        case = zoo.build(name)
        before, after = zoo.count(case.model, case.args), zoo.count(zoo.merged_by_hand(case.model), case.args)
        merged = "" if after == before else f"{after.macs / 1e6:9.1f} {after.layers:4} {distance(case):8.1e}"
        print(
            f"{name:20} {before.macs / 1e6:9.1f} {before.layers:6} {before.batch_norms:5} "
            f"{before.parameters / 1e6:7.2f}   {merged}",
            flush=True,
        )


def distance(case: zoo.Case) -> float:
    """``‖merged − model‖ / ‖model‖`` in float64; raises where it is more than rounding."""
    model, args = case.model.double(), [arg.double() for arg in case.args]
    expected = model(*args)
    error = float((zoo.merged_by_hand(model)(*args) - expected).norm() / expected.norm())
    if error > 1e-13:
        raise AssertionError(f"{case.name}: merged by hand differs by {error:.1e}")
    return error


if __name__ == "__main__":
    main(sys.argv[1:])
