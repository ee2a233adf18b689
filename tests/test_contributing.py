"""The newcomer's map is true: what it names is there, and every part of the house is on it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOUSE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## The house")[2].partition("\n## ")[0]
ROWS = [row for row in HOUSE.splitlines() if row.startswith("| ") and not row.startswith("| where")]


def test_every_place_on_the_map_is_there() -> None:
    assert len(ROWS) >= 10
    for row in ROWS:
        _, question, *places, _ = row.split("|")
        assert question.strip() and len(places) == 2
        for place in (p for column in places for p in re.findall(r"`([^`]+)`", column)):
            path = ROOT / place
            assert path.is_dir() if place.endswith("/") else path.is_file(), place


def test_every_folder_of_the_house_is_on_it() -> None:
    folders = {p.parent.relative_to(ROOT) for p in ROOT.glob("src/convfold/*/__init__.py")}
    named = {Path(place) for row in ROWS for place in re.findall(r"`(src/[^`]+)`", row)}
    missing = {f for f in folders if not any(f in (n, *n.parents) for n in named)}
    assert {f.name for f in missing} <= {"cli"}  # what users see is in the README


def test_the_order_of_imports_is_that_of_the_contract() -> None:
    said = re.search(r"`(cli → [^`]+)`", HOUSE)
    assert said is not None
    names = said[1].replace("\n", " ").split(" → ")
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("layers = [")[2].partition("]\n")[0]
    layers = [re.findall(r"\w+", line) for line in contract.splitlines() if line.strip()]
    place = [next(i for i, layer in enumerate(layers) if name in layer) for name in names]
    assert place == sorted(place) and len(set(place)) == len(place)
