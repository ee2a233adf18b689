"""The page that a report is drawn as, in a browser: what it says is what the report says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import convfold
import zoo
from convfold.errors import REASONS, REMEDIES
from tests.folding import noise, randomised

Opened = Callable[..., Any]


@pytest.fixture(scope="session")
def report() -> convfold.Report:
    """Of a model with modules in modules, resizes, a border to mend and pairs that stay."""
    case = zoo.build("tiny-segformer")
    return convfold.fold(case.model, case.args, config=convfold.FoldConfig("macs")).report


@pytest.fixture(scope="session")
def file(report: convfold.Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "r.html"
    report.save(path, "tiny-segformer")
    return path


def test_every_reason_says_what_would_lift_it() -> None:
    assert REASONS.keys() == REMEDIES.keys()


class TestFiles:
    def test_json_is_the_dict(self, report: convfold.Report, tmp_path: Path) -> None:
        report.save(tmp_path / "r.json")
        assert json.loads((tmp_path / "r.json").read_text()) == json.loads(json.dumps(report.to_dict()))

    def test_another_suffix(self, report: convfold.Report, tmp_path: Path) -> None:
        with pytest.raises(convfold.InvalidInput, match=r"r\.pdf: unknown kind of file.*\.html or \.json"):
            report.save(tmp_path / "r.pdf")
        assert not list(tmp_path.iterdir())

    def test_no_folder(self, report: convfold.Report, tmp_path: Path) -> None:
        with pytest.raises(convfold.InvalidInput, match="does not exist"):
            report.save(tmp_path / "none" / "r.html")

    def test_a_small_file_of_its_own(self, file: Path) -> None:
        text = file.read_text(encoding="utf-8")
        assert len(text) < 400_000
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


class TestContent:
    def test_totals(self, report: convfold.Report, file: Path, opened: Opened) -> None:
        page = opened(file)
        assert page.title() == "tiny-segformer: what convfold found"
        said = page.inner_text("#headline")
        less = round(100 * (1 - report.after.macs / report.before.macs))
        assert said.startswith(f"The folded model makes {less} % fewer multiply-adds")
        assert said.endswith("It computes the same function, checked against float64.")
        rows = [row.inner_text() for row in page.query_selector_all(".total")]
        assert len(rows) == 5
        assert f"{report.before.layers} before" in rows[3] and f"{report.after.layers} after" in rows[3]

    def test_stretches_by_what_they_save(self, report: convfold.Report, file: Path, opened: Opened) -> None:
        page = opened(file)
        shown = [e.inner_text() for e in page.query_selector_all("#stretches .where")]
        ordered = sorted(report.applied, key=lambda a: a.macs_after - a.macs_before)
        assert shown == [a.where for a in ordered]
        page.select_option("#order", "place")
        assert [e.inner_text() for e in page.query_selector_all("#stretches .where")] == [
            a.where for a in report.applied
        ]

    def test_search_and_filter(self, report: convfold.Report, file: Path, opened: Opened) -> None:
        page = opened(file)
        page.fill("#search", "stages.1 attention")
        shown = [e.inner_text() for e in page.query_selector_all("#stretches .where")]
        assert shown and all("stages.1" in where and "attention" in where for where in shown)
        page.fill("#search", "no such module")
        assert page.inner_text("#changed-count").startswith(f"0 of {len(report.applied)}")
        page.fill("#search", "")
        page.select_option("#least", "0.05")
        large = [a for a in report.applied if a.macs_before - a.macs_after >= 0.05 * report.before.macs]
        assert len(page.query_selector_all("#stretches details")) == len(large) > 0

    def test_a_stretch_is_drawn(self, report: convfold.Report, file: Path, opened: Opened) -> None:
        page = opened(file)
        i, largest = max(enumerate(report.applied), key=lambda pair: pair[1].macs_before - pair[1].macs_after)
        page.click(f"#stretch-{i} summary")
        page.wait_for_selector(f"#stretch-{i} .drawing svg")
        assert largest.redrawn is not None
        for panel, boxes in zip(
            page.query_selector_all(f"#stretch-{i} .drawing"),
            (largest.redrawn.before, largest.redrawn.after),
            strict=True,
        ):
            drawn = [g.text_content() for g in panel.query_selector_all("g:has(.box)")]
            wanted = [b for b in boxes if b.label != "view"]
            assert len(drawn) == len(wanted)
            for b in wanted:
                assert any((b.label or b.name) in text for text in drawn), b
        assert page.query_selector(f"#stretch-{i} .old") and page.query_selector(f"#stretch-{i} .new")
        assert "Why it is equal" in page.inner_text(f"#stretch-{i}")

    def test_refusals(self, report: convfold.Report, file: Path, opened: Opened) -> None:
        page = opened(file)
        counts = Counter(r.code for r in report.refused)
        assert counts
        for code, n in counts.items():
            assert page.inner_text(f"#reason-{code} summary").split()[0] == str(n)
            page.click(f"#reason-{code} summary")
            said = page.inner_text(f"#reason-{code}")
            assert REMEDIES[code] in said
            assert all(r.where in said for r in report.refused if r.code == code)

    def test_verdict(self, report: convfold.Report, file: Path, opened: Opened) -> None:
        said = opened(file).inner_text("#verdict")
        assert said.startswith("Yes")
        for word in ("allowed", "interior", "ring"):
            assert word in said

    def test_of_what_was_only_explained(self, opened: Opened, tmp_path: Path) -> None:
        case = zoo.build("tiny-repvgg")
        convfold.explain(case.model, case.args).save(tmp_path / "r.html")
        page = opened(tmp_path / "r.html")
        assert "would make" in page.inner_text("#headline")
        assert page.inner_text("#verdict").startswith("Nothing was run")

    def test_of_nothing_to_fold(self, opened: Opened, tmp_path: Path) -> None:
        convfold.fold(nn.Sequential(nn.Linear(3, 4), nn.ReLU()).eval(), torch.randn(2, 3)).report.save(
            tmp_path / "r.html"
        )
        page = opened(tmp_path / "r.html")
        assert page.inner_text("#headline").startswith("Nothing was folded")
        assert page.inner_text("#changed-count") == "No stretch was rewritten."

    def test_a_border(self, opened: Opened, tmp_path: Path) -> None:
        net = randomised(nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 1, 3, padding=1)).double()).eval()
        report = convfold.fold(net, noise(1, 1, 64, 64), config=convfold.FoldConfig("macs")).report
        assert report.borders
        report.save(tmp_path / "r.html")
        page = opened(tmp_path / "r.html")
        page.click("#stretches summary")
        page.wait_for_selector("#stretches .ring")  # drawn when the browser says that it is open
        assert report.borders[0].way in page.inner_text("#stretches")

    def test_onnx(self, opened: Opened, tmp_path: Path) -> None:
        net = onnx.parser.parse_model(
            """<ir_version: 8, opset_import: ["" : 17]> net (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y)
            <float[2, 2, 1, 1] w = {1, 2, 3, 4}> { a = Conv(x, w) y = Conv(a, w) }"""
        )
        convfold.explain(net).save(tmp_path / "r.html")
        page = opened(tmp_path / "r.html")
        assert len(page.query_selector_all("#map-before g:has(.box):not(.ghost)")) == 3
        assert len(page.query_selector_all("#map-after g:has(.box):not(.ghost)")) == 2


class TestMap:
    def test_modules_open(self, file: Path, opened: Opened) -> None:
        page = opened(file)
        names = [e.text_content() for e in page.query_selector_all("#map-before .module text:not(.small)")]
        assert names == ["segformer", "decode_head"]
        before = page.query_selector_all("#map-before .module")
        before[0].focus()
        page.keyboard.press("Enter")
        trail = page.inner_text("#crumbs").split("›")
        assert len(trail) > 1
        page.click("#crumbs button")
        assert len(page.inner_text("#crumbs").split("›")) == 1

    def test_both_sides_stand_alike(self, file: Path, opened: Opened) -> None:
        page = opened(file)
        places = "(e) => [...e.querySelectorAll('.box')].map((b) => [b.getAttribute('x'), b.getAttribute('y')].join())"
        before, after = (page.eval_on_selector(f"#map-{side}", places) for side in ("before", "after"))
        assert before == after
        page.click("#zoom-in")
        views = page.eval_on_selector_all("#map svg", "(all) => all.map((e) => e.getAttribute('viewBox'))")
        assert len(set(views)) == 1
        page.focus("#map-before svg")
        page.keyboard.press("ArrowDown")
        moved = page.eval_on_selector_all("#map svg", "(all) => all.map((e) => e.getAttribute('viewBox'))")
        assert len(set(moved)) == 1 and moved != views

    def test_what_changed_is_a_step_away(self, opened: Opened, tmp_path: Path) -> None:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 3)

            def forward(self, x: Tensor) -> Tensor:
                return F.relu(self.b(self.a(x)))

        convfold.fold(Net().eval(), torch.randn(2, 3, 8, 8), config=convfold.FoldConfig("macs")).report.save(
            tmp_path / "r.html"
        )
        page = opened(tmp_path / "r.html")
        page.click("#map-before .old")
        assert page.eval_on_selector("#stretch-0", "(e) => e.open")

    def test_a_flat_model_of_many_calls(self, opened: Opened, tmp_path: Path) -> None:
        lines = "\n".join(f"v{i + 1} = Relu(v{i})" for i in range(400))
        net = onnx.parser.parse_model(
            f"""<ir_version: 8, opset_import: ["" : 17]> net (float[1, 2] v0) => (float[1, 2] v400) {{ {lines} }}"""
        )
        convfold.explain(net).save(tmp_path / "r.html")
        page = opened(tmp_path / "r.html")
        groups = page.query_selector_all("#map-before .module")
        assert 5 < len(groups) < 90
        groups[0].press("Enter")
        assert len(page.query_selector_all("#map-before g:has(.box)")) < 90


class TestSafety:
    def test_names_are_no_markup(self, opened: Opened, tmp_path: Path) -> None:
        evil = "</script><img src=x onerror=alert(1)>"
        net = onnx.parser.parse_model(
            """<ir_version: 8, opset_import: ["" : 17]> net (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y)
            <float[2, 2, 1, 1] w = {1, 2, 3, 4}> { a = Conv(x, w) b = Relu(a) y = Conv(b, w) }"""
        )
        for node in net.graph.node:
            node.name = f"/{evil}/{node.output[0]}"
        net.graph.node[0].output[0] = net.graph.node[1].input[0] = evil
        convfold.explain(net).save(tmp_path / "r.html", evil)
        page = opened(tmp_path / "r.html")
        assert page.inner_text("h1") == evil
        assert page.query_selector("img") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_nobody_is_left_out(width: int, scheme: str, file: Path, opened: Opened) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = opened(file, width, scheme)
    page.eval_on_selector_all("details", "(all) => all.slice(0, 2).forEach((e) => { e.open = true; })")
    page.eval_on_selector_all("#refusals details", "(all) => all.forEach((e) => { e.open = true; })")
    page.wait_for_selector("#stretches .drawing svg")
    found = axe.Axe().run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["target"]) for v in found if v["impact"] in ("serious", "critical")] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_by_keyboard_alone(file: Path, opened: Opened) -> None:
    page = opened(file)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("#stretches summary")
    page.keyboard.press("Enter")
    assert page.eval_on_selector("#stretches details", "(e) => e.open")
    page.focus("#theme")
    dark = page.evaluate("document.documentElement.classList.contains('dark')")
    page.keyboard.press("Space")
    assert page.evaluate("document.documentElement.classList.contains('dark')") is not dark


def test_without_scripts(report: convfold.Report, file: Path, browser: Any) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(file.as_uri())
    assert page.inner_text("noscript pre").splitlines()[0] == report.headline
