"""What is measured on is named, and that others are at work there is said."""

from __future__ import annotations

import os

import pytest

from convfold.bench import Machine

QUIET = Machine("Some CPU", 4, 8, 8, 0.2)


def test_this_one_has_a_name() -> None:
    here = Machine.here()
    assert here.cpu.strip() and 1 <= here.cores <= here.threads <= here.processors
    assert str(here).startswith(here.cpu)


@pytest.mark.parametrize(
    ("load", "threads", "busy"), [(0.2, 1, False), (0.2, 8, False), (7.0, 1, False), (7.0, 2, True), (0.6, 8, True)]
)
def test_busy_is_where_fewer_are_idle_than_are_measured_on(load: float, threads: int, busy: bool) -> None:
    assert Machine("Some CPU", 4, 8, 8, load).busy(threads) is busy


def test_a_system_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getloadavg")
    here = Machine.here()
    assert here.load is None and not here.busy(1000) and "load" not in str(here)


def test_in_a_line() -> None:
    assert str(QUIET) == "Some CPU, 4 cores, 8 threads, load 0.2"
    assert str(Machine("Some CPU", 1, 1, 1, None)) == "Some CPU, 1 core, 1 thread"
