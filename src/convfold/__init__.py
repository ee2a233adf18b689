"""convfold: rewrite the linear parts of a network into their cheapest exactly equal form.

A public name is imported when it is first asked for: a command that only parses its words does without torch.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convfold.algebra.convolution import Convolution
    from convfold.algebra.window import Window
    from convfold.collapsed import collapse
    from convfold.config import FoldConfig
    from convfold.errors import REASONS, ConvfoldError, InvalidInput, NotFoldable, VerificationFailed
    from convfold.fold import Result, explain, fold
    from convfold.merge import merge
    from convfold.modules import fold_, unfold_
    from convfold.report import Report
    from convfold.verify import Verdict, verify

__version__ = "0.1.0"

__all__ = [
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
    "collapse",
    "explain",
    "fold",
    "fold_",
    "merge",
    "unfold_",
    "verify",
]

#: The file each public name comes from.
_HOME = {
    "REASONS": "errors",
    "ConvfoldError": "errors",
    "Convolution": "algebra.convolution",
    "FoldConfig": "config",
    "InvalidInput": "errors",
    "NotFoldable": "errors",
    "Report": "report",
    "Result": "fold",
    "Verdict": "verify",
    "VerificationFailed": "errors",
    "Window": "algebra.window",
    "collapse": "collapsed",
    "explain": "fold",
    "fold": "fold",
    "fold_": "modules",
    "unfold_": "modules",
    "merge": "merge",
    "verify": "verify",
}


class _Package(ModuleType):
    """This module, with attributes that arrive late."""

    def __getattr__(self, name: str) -> Any:
        if name in _HOME:
            value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
            self.__dict__[name] = value
            return value
        if not name.startswith("_"):
            try:
                return import_module(f"{__name__}.{name}")
            except ModuleNotFoundError as e:
                if e.name != f"{__name__}.{name}":
                    raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: object) -> None:
        """As ever, but for what importing ``convfold.name`` does once that file is loaded."""
        if not (isinstance(value, ModuleType) and name in _HOME):  # fold is the function, not the file it is in
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
