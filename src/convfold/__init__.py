"""convfold: rewrite the linear parts of a network into their cheapest exactly equal form."""

from convfold import blocks as _blocks
from convfold import layers as _layers  # both register what Convolution.of reads
from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window
from convfold.config import FoldConfig
from convfold.errors import REASONS, ConvfoldError, InvalidInput, NotFoldable, VerificationFailed
from convfold.fold import Result, explain, fold
from convfold.merge import merge
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
    "explain",
    "fold",
    "merge",
    "verify",
]
