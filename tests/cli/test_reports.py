"""convfold report and convfold diff."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

GIVEN = "factories:given"


def test_report_writes_a_page(run: Run, folder: Path) -> None:
    done = run("report", GIVEN, "-o", "r.html")
    assert done.exit_code == 0 and done.stderr.endswith("wrote r.html\n") and not done.stdout
    page = (folder / "r.html").read_text(encoding="utf-8")
    assert f"<title>{GIVEN}: what convfold found</title>" in page and '"passed":true' in page


def test_report_of_what_is_only_planned(run: Run, folder: Path) -> None:
    assert run("report", GIVEN, "-o", "r.json", "--check", "none").exit_code == 0
    found = json.loads((folder / "r.json").read_text(encoding="utf-8"))
    assert found["error"] is None and found["applied"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", GIVEN], "Missing option '-o'"),
        (["report", GIVEN, "-o", "r.pdf"], r"r.pdf: unknown kind of file; give a name that ends in .html or .json"),
        (["report", GIVEN, "-o", "none/r.html"], "the folder none does not exist"),
        (["report", "none.onnx", "-o", "r.html"], "none.onnx: no such file"),
        (["diff", GIVEN, "none.json"], "none.json: no such file"),
        (["diff", GIVEN, "no.json"], "no.json: is no report"),
    ],
)
def test_bad_words(run: Run, folder: Path, words: list[str], said: str) -> None:
    (folder / "no.json").write_text('{"applied": []}')
    done = run(*words)
    assert done.exit_code != 0 and said in done.stderr and not list(folder.glob("r.*"))


def test_diff_of_a_report_with_its_model(run: Run, folder: Path) -> None:
    (folder / "a.json").write_text(run("explain", GIVEN, "--json").stdout)
    same = run("diff", "a.json", GIVEN)
    assert (same.exit_code, same.stdout) == (0, "no difference: totals, stretches and reasons are the same\n")


def test_diff_of_two_models(run: Run) -> None:
    (found,) = [json.loads(run("diff", GIVEN, "factories:other", "--json").stdout)]
    explained = [json.loads(run("explain", word, "--json").stdout) for word in (GIVEN, "factories:other")]
    for name, (given, folded) in found["totals"].items():
        assert given == [e["before"][name] for e in explained]
        assert folded == [e["after"][name] for e in explained]
    assert {where for where, (_, other) in found["stretches"].items() if other is None} == {
        a["where"] for a in explained[0]["applied"]
    }
    shown = run("diff", GIVEN, "factories:other").stdout
    assert "multiply-adds" in shown and "not rewritten" in shown


def test_every_row_where_asked(run: Run) -> None:
    few, every = (run("explain", "factories:many", *words).stdout for words in ((), ("--all",)))
    assert "… 3 more" in few and "--all lists them" in few
    assert "more" not in every and len(every.splitlines()) > len(few.splitlines())
