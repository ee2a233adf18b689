"""Pages of the documentation as what can be run in them.

A block says what it is, and so what happens to it:

    python    runs, all of a page in one namespace
    output    what the block before it printed
    console   commands behind `$`, and what they print, if anything is shown
    yaml, toml, json    is parsed
    text      is neither: a formula, a drawing, a synopsis

In what is shown `…` stands for anything; numbers with an exponent and seconds are not compared. A block after a
paragraph that begins with "*Not run" is compiled and left out. An HTML comment that begins with "first:" runs where it
stands and is not shown.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]

#: What is written by a script has nothing to run.
_WRITTEN = {"operators.md", "gallery.md", "in-place.md", "changelog.md"}


@dataclass(frozen=True)
class Block:
    """A piece of a page; ``line`` is where it begins, ``left_out`` why it is not run."""

    language: str
    text: str
    line: int
    left_out: str = ""

    def code(self, page: Path) -> str:
        """As a file of as many lines as come before it, so that a traceback says where."""
        compile(self.text, page.name, "exec")
        return "\n" * self.line + self.text


def pages() -> list[Path]:
    """All that have blocks."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if page.name not in _WRITTEN and blocks(page)]


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    """In their order."""
    return tuple(_blocks(page.read_text(encoding="utf-8")))


def _blocks(text: str) -> Iterator[Block]:
    before = ""
    for token in MarkdownIt("commonmark").parse(text):
        line = token.map[0] if token.map else 0
        if token.type == "inline":
            before = token.content
        elif token.type == "html_block" and (first := re.match(r"<!--\s*first:\n(.*)-->", token.content, re.S)):
            yield Block("first", first[1], line + 1)
        elif token.type == "fence":
            left_out = before[1:].partition("*")[0] if before.startswith("*Not run") else ""
            yield Block(token.info.split()[0] if token.info else "", token.content, line + 1, left_out)
            before = ""
        elif token.type == "code_block":
            yield Block("indented", token.content, line + 1)


def commands(text: str) -> Iterator[tuple[list[list[str]], str]]:
    """Of a console block: the words of each line behind `$`, apart at `&&`, and what is shown below it."""
    for part in re.split(r"^\$ ", text.replace("\\\n", " "), flags=re.M)[1:]:
        typed, _, shown = part.partition("\n")
        words = shlex.split(typed, comments=True)
        lines: list[list[str]] = [[]]
        for word in words:
            if word == "&&":
                lines.append([])
            else:
                lines[-1].append(word)
        yield lines, shown


def pattern(shown: str) -> str:
    """A regular expression for what is shown."""
    written = re.escape(calm(shown))
    return written.replace("…", r"(?s:.*?)").replace(re.escape("#.#e"), "#.#e")


def calm(text: str) -> str:
    """Without what is another number on another machine, or on another day."""
    lines = [line.rstrip() for line in text.strip("\n").splitlines() if not line.startswith("seconds: ")]
    return re.sub(r"\d(\.\d+)?e-\d\d", "#.#e", "\n".join(lines))


def extras() -> set[str]:
    """What `pip install convfold[…]` takes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(project["optional-dependencies"])


def make_targets() -> set[str]:
    return set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
