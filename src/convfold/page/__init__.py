"""A report as one page that opens from disk: data as JSON, and a script that draws it.

Nothing is loaded from elsewhere. dagre, which lays graphs out, is another's (its licence lies beside it).
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convfold import plain
from convfold.atomic import refuse_unwritable, replacing
from convfold.errors import REASONS, REMEDIES, InvalidInput

if TYPE_CHECKING:
    from convfold.picture import Box, Picture, Redrawn

SUFFIXES = (".html", ".json")


@dataclass(frozen=True)
class Page:
    """What a page shows.

    Attributes:
        report: as plain data; ``text`` is the same to read.
        notes: what is said under the totals.
        redrawn: of each stretch in ``report["applied"]`` what it was and is.
        picture: of the model before.
    """

    name: str
    text: str
    report: dict[str, Any]
    notes: Sequence[str]
    redrawn: Sequence[Redrawn | None]
    picture: Picture | None

    def save(self, path: Path) -> None:
        """Write it, or of a .json file the report alone.

        Raises:
            InvalidInput: the suffix is another, or the file cannot be written.
        """
        refuse_output(path)
        text = self.html() if path.suffix == ".html" else plain.dumps(self.report, indent=2) + "\n"
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def html(self) -> str:
        """As one document."""
        parts = {
            "NAME": html.escape(self.name or "a model"),
            "STYLE": _part("report.css"),
            "TEXT": html.escape(self.text),
            "LAYOUT": _part("dagre.min.js"),
            "SCRIPT": _part("report.js"),
            "DATA": plain.dumps(self._data(), separators=(",", ":")).replace("<", "\\u003c"),
        }
        before, *rest = _part("report.html").split("{{")
        filled = [parts[key] + after for key, after in (part.split("}}", 1) for part in rest)]
        return "".join([before, *filled])

    def _data(self) -> dict[str, Any]:
        codes = {r["code"] for r in self.report["refused"]}
        return {
            **self.report,
            "applied": [
                {**{key: value for key, value in a.items() if key != "diagram"}, "boxes": drawn and _redrawn(drawn)}
                for a, drawn in zip(self.report["applied"], self.redrawn, strict=True)
            ],
            "picture": self.picture and {"calls": _boxes(self.picture.calls), "outputs": self.picture.outputs},
            "reasons": {code: {"means": REASONS[code], "lifts": REMEDIES[code]} for code in codes},
            "notes": self.notes,
            "name": self.name,
            "version": version("convfold"),
        }


def refuse_output(path: Path) -> None:
    """Raise unless a report can be written here; asked before the work is done, too."""
    if path.suffix not in SUFFIXES:
        raise InvalidInput(f"{path}: unknown kind of file; give a name that ends in {' or '.join(SUFFIXES)}")
    refuse_unwritable(path)


def _part(file: str) -> str:
    return files(__package__).joinpath(file).read_text(encoding="utf-8")


def _redrawn(drawn: Redrawn) -> dict[str, Any]:
    return {"before": _boxes(drawn.before), "after": _boxes(drawn.after), "outputs": drawn.outputs}


def _boxes(boxes: Sequence[Box]) -> list[tuple[Any, ...]]:
    return [(b.name, b.label, b.path, b.size, b.macs, b.reads, b.taps) for b in boxes]
