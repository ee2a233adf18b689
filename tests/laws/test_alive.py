"""Taps that only ever read zeros at a size, against the positions that every tap reads."""

from __future__ import annotations

import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window, alive
from convfold.plan import deferred
from convfold.plan.deferred import Given

windows = st.builds(
    Window, st.integers(1, 5), st.integers(1, 3), st.sampled_from([1, 1, 1, 2]), st.integers(1, 6),
    st.integers(-3, 12), st.integers(-3, 12),
)  # fmt: skip


@given(windows, st.integers(1, 9))
def test_what_is_left_out_reads_nothing(w: Window, n: int) -> None:
    assume(w.size(n) > 0)
    left = alive(w, n)
    positions = set(range(0, w.upsample * (n - 1) + 1, w.upsample))
    reads = [any(w.stride * m + w.dilation * t - w.lo in positions for m in range(w.size(n))) for t in range(w.taps)]
    assert not any(read for t, read in enumerate(reads) if t not in left)
    if w.upsample == 1 and any(reads):
        assert reads[left.start] and reads[left.stop - 1]


@given(windows, windows, st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_the_rest_computes_the_same(v: Window, w: Window, n: int, m: int, biased: bool) -> None:
    assume(v.size(n) > 0 and w.size(m) > 0)
    kernel, bias = torch.randn(4, 3, v.taps, w.taps, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    op = Convolution(kernel, bias if biased else None, 1, (v, w))
    x = torch.randn(2, 3, n, m, dtype=torch.float64)
    found = deferred.alive(Given(op.geometry, op), (n, m))
    torch.testing.assert_close(found.value(x), op(x))
    assert found.geometry == found.value.geometry
    assert deferred.alive(found, (n, m)) is found
    assert deferred.alive(found, (None, None)) is found
