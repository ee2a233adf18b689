"""How to fold: what is minimised, what is left alone, what happens at the border, whether the result is proved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from convfold.errors import InvalidInput, check_border

#: What a fold can minimise.
OBJECTIVES = ("time", "macs", "measured")

#: How thoroughly the result is compared with the original.
CHECKS = ("none", "quick", "full")


@dataclass(frozen=True)
class FoldConfig:
    """How to fold.

    Attributes:
        objective: what to minimise. "time": that of every call by the target's table of prices (`targets`): the same
            input has the same plan everywhere. "macs": multiply-adds, then bytes and
            operations (`plan.cost`). "measured": of several plans of each stretch the one that is fastest in the
            target, run there (`convfold.measured`). None ever raises the multiply-adds.
        exclude: globs over module paths, and over calls by the names that the report gives them; what runs inside such
            a module, or is such a call, is left alone.
        verify: compare the result with the original in float64 and raise `VerificationFailed` where it differs. True or
            "full": at several sizes where they are free, and on several inputs; "quick": on one, no larger than it
            need be; False or "none": not at all.
        border: what to do where a layer reads, as zeros, what lies beyond the ends of the one before it, and one
            convolution would have something else there. "exact": the border is computed apart; "refuse": such layers
            stay apart; "hoist": all padding moves to the first. That changes the border: the report says where and by
            how much, and the comparison with the original is reported, not enforced.
        target: what time is counted in: the name of a shipped target (`targets.shipped`) or a .json file that
            `convfold calibrate` made. None: "eager" for PyTorch's models and "onnxruntime" for ONNX, on a CPU.
        guard: time the folded model against the original in the target's runtime, if one is named, it is installed and
            the objective is not "macs", and put back what makes it slower.
        budget: seconds that "measured" may take, the most worthwhile stretches first. Interrupted (Ctrl-C), it goes on
            with what it has. What was timed is kept in the user's cache folder.
    """

    objective: str = "time"
    exclude: tuple[str, ...] = ()
    verify: bool | str = True
    border: str = "exact"
    target: str | None = None
    guard: bool = True
    budget: float = 60.0

    def __post_init__(self) -> None:
        check_border(self.border)
        if self.objective not in OBJECTIVES:
            raise InvalidInput(f"unknown objective {self.objective!r}; known: {', '.join(map(repr, OBJECTIVES))}")
        if self.verify not in (True, False, *CHECKS):
            raise InvalidInput(f"unknown verify={self.verify!r}; known: True, False, {', '.join(map(repr, CHECKS))}")
        if not 0 <= self.budget < float("inf"):
            raise InvalidInput(f"budget={self.budget!r} is no number of seconds; give one such as 60.0")
        if self.target is not None:
            from convfold.targets import target

            target(self.target)  # raises where there is none, before anything is read
        if isinstance(self.exclude, str):
            object.__setattr__(self, "exclude", (self.exclude,))

    @property
    def check(self) -> str:
        """One of `CHECKS`."""
        return self.verify if isinstance(self.verify, str) else "full" if self.verify else "none"

    @property
    def guards(self) -> bool:
        """Is the result timed against the original? Never unless it is asked for."""
        asked = self.target is not None or self.objective == "measured"
        return self.guard and asked and self.objective != "macs"

    def excludes(self, path: str) -> bool:
        """Is this module or call, or a module it is inside of, excluded?"""
        return any(_matches(glob, path) for glob in self.exclude)

    def check_globs(self, paths: Iterable[str]) -> None:
        """Raise unless every glob matches one of these modules or calls: a misspelt one would exclude nothing."""
        known = list(paths)
        for glob in self.exclude:
            if not any(_matches(glob, path) for path in known):
                raise InvalidInput(f"exclude {glob!r} matches no module and no call of the model")


def _matches(glob: str, path: str) -> bool:
    parts = path.split(".")
    return any(fnmatchcase(".".join(parts[: i + 1]), glob) for i in range(len(parts)))
