"""Every block of code in README.md, CONTRIBUTING.md and docs/ runs as it stands, in a folder of its own."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
import tomllib
import warnings
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from convfold.cli import main
from tests.docs import pages as docs
from tests.docs.pages import Block, blocks, calm, commands, extras, make_targets, pattern

LANGUAGES = {"python", "first", "output", "console", "text", "yaml", "toml", "json"}
NOT_RUN = [(page, block) for page in docs.pages() for block in blocks(page) if block.left_out]


def name(page: Path) -> str:
    return str(page.relative_to(docs.ROOT))


@pytest.mark.parametrize("page", docs.pages(), ids=name)
def test_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(docs.ROOT / "examples"), *sys.path])
    known = set(sys.modules)
    names: dict[str, object] = {"__name__": "page"}
    printed = ""
    for block in blocks(page):
        where = f"{name(page)}:{block.line}"
        assert block.language in LANGUAGES, f"{where}: a block says what it is, one of {sorted(LANGUAGES)}"
        if block.left_out:
            continue
        match block.language:
            case "python" | "first":
                printed = ran(block, page, names)
            case "output":
                assert re.fullmatch(pattern(block.text), calm(printed)), f"{where} printed\n{printed}"
            case "console":
                for lines, shown in commands(block.text):
                    said = "".join(typed(words, where) for words in lines)
                    assert not shown.strip() or re.fullmatch(pattern(shown), calm(said)), f"{where} printed\n{said}"
            case "yaml":
                yaml.safe_load(block.text)
            case "toml":
                tomllib.loads(block.text)
            case "json":
                json.loads(block.text)
    for module in set(sys.modules) - known:  # what the page wrote as a module of its own
        if (file := getattr(sys.modules[module], "__file__", None)) and Path(file).is_relative_to(tmp_path):
            del sys.modules[module]


def ran(block: Block, page: Path, names: dict[str, object]) -> str:
    """What it printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(block.code(page), str(page), "exec"), names)
    return out.getvalue()


def typed(words: list[str], where: str) -> str:
    """What a command leaves on a terminal; of one that is none of ours, is what it names there?"""
    match words:
        case ["convfold", *rest]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                done = CliRunner().invoke(main, rest, prog_name="convfold")
            assert done.exit_code == 0, f"{where}: {' '.join(words)}\n{done.output}"
            told = [line for line in done.stderr.splitlines(keepends=True) if not line.startswith("convfold: ")]
            return done.stdout + "".join(told)  # as a terminal has it, where progress goes as it came
        case ["pip", "install", *rest]:
            for part in rest:
                if wanted := re.match(r"convfold\[(.*)\]", part):
                    assert set(wanted[1].split(",")) <= extras(), f"{where}: {part}"
            return ""
        case ["mkdir", *folders]:
            for folder in folders:
                Path(folder).mkdir()
            return ""
        case ["make", target]:
            assert target in make_targets(), f"{where}: {target}"
            return ""
    raise AssertionError(f"{where}: who is to run {words}?")


@pytest.mark.parametrize(("page", "block"), NOT_RUN, ids=[f"{name(p)}:{b.line}" for p, b in NOT_RUN])
def test_what_is_left_out(page: Path, block: Block) -> None:
    if block.language == "python":
        block.code(page)
    pytest.skip(block.left_out)
