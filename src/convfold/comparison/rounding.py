"""How far does rounding alone take a model's outputs, where it cannot run in a wider type? Round at random, and see.

Monte Carlo arithmetic (D. S. Parker, 1997): every operator's result is rounded once more, up or down at random. What
that changes in the end is an estimate of what the model's own roundings change, however they are amplified: a value
near the edge of a quantiser's bucket falls now on one side and now on the other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

from convfold.frontends.torch.running.reach import is_plain
from convfold.frontends.torch.running.state import State, Watch, writes

#: How many units in the last place a result is moved by at most, one sample after another. A sum of many terms is off
#: by a few. Beside a quantiser the effect is rare and large: more of it tells whether a difference is of that kind.
UNITS = (4, 4, 16, 16, 64, 64, 64, 64)


class RoundingAtRandom(Watch):
    """Every floating-point result is off by a few units in its last place, at random; whole numbers stay exact."""

    def __init__(self, state: State, sample: int) -> None:
        super().__init__(state)
        self.seed, self.units, self.drawn = sample, UNITS[sample], dict[torch.device, torch.Generator]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        y = super().__torch_dispatch__(func, types, args, kwargs)
        if not isinstance(func, OpOverload) or func.is_view or writes(func):
            return y
        return pytree.tree_map_only(Tensor, self._rounded, y)

    def _rounded(self, y: Tensor) -> Tensor:
        if y.is_meta or not (y.is_floating_point() and is_plain(y)):
            return y
        if y.device not in self.drawn:
            self.drawn[y.device] = torch.Generator(y.device).manual_seed(self.seed)
        off = torch.empty_like(y).uniform_(-1, 1, generator=self.drawn[y.device])
        moved = y + y * off * (self.units * torch.finfo(y.dtype).eps)
        return torch.where(y == y.round(), y, moved)
