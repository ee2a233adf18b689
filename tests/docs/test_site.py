"""The site builds without a warning, fetches nothing, and what is written by a script is as the script writes it."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.docs.pages import ROOT

DOCS = ROOT / "docs"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_pages", DOCS / "pages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_written_pages_are_up_to_date() -> None:
    for name, page in script().PAGES.items():
        assert page() == (DOCS / name).read_text(encoding="utf-8"), f"docs/{name}: run `python docs/pages.py`"


def test_the_gallery_has_thirty_networks_as_they_are_planned() -> None:
    found = script()
    gallery, plans = found._read("gallery"), found._read("plans")
    assert len(found.NETWORKS) == 30 and gallery.keys() == found.NETWORKS.keys()
    for name, case in gallery.items():
        assert case["macs"] == plans[name]["time"]["macs"], f"{name}: run `python -m benchmarks.gallery {name}`"
        assert case["ops"] == plans[name]["time"]["ops"], f"{name}: run `python -m benchmarks.gallery {name}`"


class Loads(HTMLParser):
    """What a page loads from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe", "source"):
            self.found += [v for k, v in attrs if k in ("src", "href") and v and re.match(r"(https?:)?//", v)]


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    # not --quiet: what is not logged is not counted by --strict
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("INFO ")]
    assert (done.stdout, said) == ("", []), done.stderr
    built = sorted(tmp_path.rglob("*.html"))
    assert len(built) > 20
    for page in built:
        loads = Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        assert loads.found == [], page.name
    api = (tmp_path / "reference" / "api.html").read_text(encoding="utf-8")
    for name in ("fold", "merge", "collapse", "Convolution", "FoldConfig", "NotFoldable"):
        assert re.search(rf'id="convfold\.[\w.]*\b{name}"', api), name
    assert ":class:" not in api


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_pages_beside_the_site(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.S)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if link.startswith(("https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = ROOT / name if name else ROOT / page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page}: {link}"


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_the_issue_templates_ask_for_a_report() -> None:
    templates = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    forms = [yaml.safe_load(t.read_text(encoding="utf-8")) for t in templates if t.name != "config.yml"]
    assert len(forms) >= 2
    assert all({"name", "description", "body"} <= form.keys() for form in forms)
    bug = (ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text(encoding="utf-8")
    assert "convfold explain" in bug and "--json" in bug
