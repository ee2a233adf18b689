"""ONNX Runtime, with all it rewrites."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from convfold.errors import InvalidInput
from convfold.runtimes.base import RUNS, WARM, Call, Runtime, Share, arrays, shares
from convfold.runtimes.exported import onnx_model

if TYPE_CHECKING:
    from convfold.frontends.onnx.running.runtime import Session

#: Operators whose time is that of the operators inside them.
AROUND = frozenset({"If", "Loop", "Scan", "SequenceMap"})


class OnnxRuntime(Runtime):
    """What it is given, after its own optimisations; PyTorch models are exported first."""

    name: ClassVar[str] = "onnxruntime"
    packages: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    reads_onnx: ClassVar[bool] = True

    def ready(self, model: Any, args: Sequence[Any], kwargs: dict[str, Any], threads: int | None = None) -> Call:
        return self._running(model, args, kwargs, threads)[1]

    def breakdown(
        self,
        model: Any,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        threads: int | None = None,
        start_over: Call = lambda: None,
    ) -> list[Share]:
        """What it writes into a file of its own, which does not stay."""
        with tempfile.TemporaryDirectory(prefix="convfold-") as folder:
            session, run = self._running(model, args, kwargs, threads, Path(folder))
            for _ in range(WARM + RUNS):
                start_over()
                run()
            return shares(_nodes(json.loads(session.profile().read_text(encoding="utf-8"))))

    def _running(
        self,
        model: Any,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        threads: int | None,
        profiles: Path | None = None,
    ) -> tuple[Session, Call]:
        self.check(model)
        from convfold.frontends.onnx.running.runtime import CannotRun, Session

        source = onnx_model(model, args, kwargs)
        try:
            session = Session(source, optimised=True, threads=threads, profiles=profiles)
        except CannotRun as e:  # it has no such operator in some type
            raise InvalidInput(f"runtime {self.name!r} does not run the model: {e}") from e
        names = [x.name for x in session.session.get_inputs()]
        feeds = dict(zip(names, arrays(args, kwargs, len(names)), strict=True))
        return session, lambda: session(feeds)


def _nodes(events: Sequence[dict[str, Any]]) -> Iterator[tuple[str, int, float]]:
    """Of the runs that are not to warm up; times are in microseconds."""
    begins = sorted(e["ts"] for e in events if e["name"] == "model_run")[WARM]
    for e in events:
        if e["cat"] == "Node" and e["ts"] >= begins and e["name"].endswith("_kernel_time"):
            kind = e["args"]["op_name"]
            if kind not in AROUND:
                yield kind, 1, e["dur"] / 1e6
