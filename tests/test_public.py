"""The public surface: what is promised, and nothing that slipped in."""

from __future__ import annotations

import inspect

import convfold

NAMES = [
    "REASONS",
    "ConvfoldError",
    "Convolution",
    "FoldConfig",
    "InvalidInput",
    "NotFoldable",
    "Report",
    "Result",
    "Verdict",
    "VerificationFailed",
    "Window",
    "explain",
    "fold",
    "merge",
    "verify",
]


def test_names() -> None:
    assert convfold.__all__ == NAMES == sorted(NAMES, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert all(hasattr(convfold, name) for name in NAMES)


def test_everything_public_is_documented() -> None:
    for name in NAMES:
        thing = getattr(convfold, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), name
    for cls in (convfold.Convolution, convfold.Result, convfold.Report, convfold.Verdict):
        for name, member in inspect.getmembers(cls, inspect.isfunction):
            assert name.startswith("_") or inspect.getdoc(member), f"{cls.__name__}.{name}"


def test_parameters() -> None:
    """Keyword for keyword: what a caller may have written down."""
    shared = ["model", "args", "kwargs", "dynamic_shapes", "config", "progress"]
    assert list(inspect.signature(convfold.fold).parameters) == shared
    assert list(inspect.signature(convfold.explain).parameters) == shared
    assert list(inspect.signature(convfold.merge).parameters) == ["modules", "attached", "border", "check"]
    assert inspect.signature(convfold.merge).parameters["border"].default == convfold.FoldConfig().border == "exact"
    assert list(inspect.signature(convfold.verify).parameters)[:4] == ["model_a", "model_b", "args", "kwargs"]
