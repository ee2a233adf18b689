"""Can a tensor's numbers be looked at?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor


def has_numbers(t: Tensor) -> bool:
    """Not on the meta device, nor where it stands for others: exported, traced, vmapped."""
    stands_for = isinstance(t, FakeTensor | FunctionalTensor) or torch._C._functorch.is_functorch_wrapped_tensor(t)
    return not (t.is_meta or stands_for or torch._C._get_tracing_state() is not None)
