"""Running sums: by definition, as a matrix, and what passes them."""

from __future__ import annotations

import pytest
import torch

from convfold.algebra.spatial.cumulate import Cumulate
from convfold.ops import Eager
from tests.folding import noise
from tests.laws.oracle import assert_close


def cumulate(n: int, dims: int = 3, along: int = 2) -> Cumulate:
    carried = tuple((i, i) for i in range(dims) if i != along)
    return Cumulate(sizes=((n,), (n,)), carried=carried, axis=along - 1, along=along, origin="cumsum")


@pytest.mark.parametrize("n", [1, 2, 7])
def test_each_is_the_sum_of_all_up_to_it(n: int) -> None:
    x = noise(2, 3, n)
    y = cumulate(n).lower(Eager(x), [x], x.shape)
    for i in range(n):
        assert_close(y[..., i], x[..., : i + 1].sum(-1))


@pytest.mark.parametrize("n", [1, 2, 7])
def test_as_a_matrix(n: int) -> None:
    x, s = noise(2, 3, n), cumulate(n)
    assert s.matrices is not None
    (matrix,) = s.matrices()
    assert_close(x @ matrix.t(), s(x))


def test_channels_pass_it_a_bias_does_not() -> None:
    x, p, s = noise(2, 3, 5), noise(4, 3, seed=2), cumulate(5)
    mixed = torch.einsum("oc,ncl->nol", p, x)
    assert_close(torch.einsum("oc,ncl->nol", p, s(x)), s(mixed))
    assert not s.constants and not torch.equal(s(torch.ones(1, 1, 5)), torch.ones(1, 1, 5))


def test_it_multiplies_nothing() -> None:
    (work,) = cumulate(5).work([(2, 3, 5)], (2, 3, 5))
    assert work.macs == 0 and work.moved == 2 * 30
