"""The page in a real browser: its numbers against torch, its controls by keyboard, both themes, axe-core."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convfold
from tests.page.conftest import PAGE

INDEX = (PAGE / "index.html").as_uri()


@pytest.fixture(scope="module")
def opened(browser: Any) -> Iterator[Any]:
    """The page, with what must not happen collected: errors, console messages, requests other than its own files."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda message: page.wrong.append(message.text))

    def only_files(route: Any) -> None:
        if not route.request.url.startswith(("file:", "data:")):
            page.wrong.append(route.request.url)
        route.continue_()

    context.route("**/*", only_files)
    context.set_offline(True)
    page.goto(INDEX)
    yield page
    context.close()


@pytest.fixture
def page(opened: Any) -> Iterator[Any]:
    """The page as it is at first; nothing has gone wrong when the test is done."""
    opened.goto(INDEX)
    yield opened
    assert opened.wrong == []


def tensor(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def close(got: Any, expected: Tensor) -> None:
    torch.testing.assert_close(tensor(got), expected.detach(), rtol=0, atol=1e-12)


def number(page: Any, name: str) -> float:
    """A number of the page in full; what is shown is the same, rounded."""
    element = page.locator(f'[data-name="{name}"]')
    value = float(element.get_attribute("data-value"))
    shown = element.text_content()
    if re.fullmatch(r"−?[\d.]+", shown):
        assert float(shown.replace("−", "-")) == pytest.approx(value, abs=0.0051)
    return value


def cells(page: Any, name: str) -> Tensor:
    """A kernel of the page; what its cells show is the same, rounded."""
    rows = page.locator(f'[data-name="{name}"]').evaluate(
        """grid => {
            const columns = Number(grid.style.getPropertyValue("--columns"));
            const all = [...grid.children].map(c => [Number(c.dataset.value), c.textContent]);
            return Array.from({length: all.length / columns}, (_, r) => all.slice(r * columns, (r + 1) * columns));
        }"""
    )
    for value, shown in (cell for row in rows for cell in row):
        assert float(shown.replace("−", "-")) == pytest.approx(value, abs=0.051)
    return tensor([[value for value, _ in row] for row in rows])


def taps(page: Any, name: str) -> Tensor:
    """A kernel drawn as stems."""
    return tensor(
        page.locator(f'[data-name="{name}"] .tap').evaluate_all("all => all.map(t => Number(t.dataset.value))")
    )


def value(page: Any, name: str) -> float:
    return float(page.locator(f'input[data-name="{name}"]').input_value())


def put(page: Any, name: str, v: float) -> None:
    """Move a slider."""
    page.locator(f'input[data-name="{name}"]').fill(str(v))


def press(page: Any, selector: str, *keys: str) -> None:
    """By keyboard alone: focus, then keys."""
    page.locator(selector).first.focus()
    for key in keys:
        page.keyboard.press(key)


def merged(a: Tensor, b: Tensor, b1: Tensor | None = None, b2: Tensor | None = None) -> nn.Module:
    """What the library makes of two kernels (out, in, *taps)."""
    kind = (nn.Conv1d, nn.Conv2d)[a.dim() - 3]
    made = []
    for weight, bias in ((a, b1), (b, b2)):
        layer = kind(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), bias=bias is not None).double()
        layer.weight = nn.Parameter(weight)
        if bias is not None:
            layer.bias = nn.Parameter(bias)
        made.append(layer)
    return convfold.merge(*made, check=False)


def test_the_script_is_what_its_sources_give(node: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = node("docs/two-kernels/build.mjs", "--check")
    assert done.returncode == 0, done.stderr


def test_the_page_is_small_and_asks_for_nothing() -> None:
    assert sum(p.stat().st_size for p in PAGE.rglob("*") if p.is_file()) <= 300_000
    for name in ("index.html", "style.css", "page.js"):
        text = (PAGE / name).read_text(encoding="utf-8")
        assert not re.findall(r"(?:src|href)=\"https?:|@import|url\(|fetch\(|XMLHttpRequest|sendBeacon", text), name


def test_links_lead_somewhere() -> None:
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    for link in re.findall(r'(?:href|src)="([^"#:]+)"', text):
        page = PAGE / link  # on the site; beside this folder lies what it is made of
        assert page.exists() or page.with_suffix(".md").exists(), link
    for anchor in re.findall(r'href="#([^"]+)"', text):
        assert f'id="{anchor}"' in text
    assert "two-kernels/index.html" in (PAGE.parent / "explanation" / "algebra.md").read_text(encoding="utf-8")


def test_there_are_ten_stations(page: Any) -> None:
    assert page.locator("section[id]").count() == 11  # and one's own
    for play in page.locator("[data-play]").all():
        assert play.evaluate("e => e.childElementCount") > 0


def test_1_two_polynomials(page: Any) -> None:
    press(page, '[data-name="A"] .tap', "ArrowUp", "PageDown", "Tab", "ArrowDown")
    press(page, '[data-name="b-longer"]', "Enter")
    a, b = taps(page, "A"), taps(page, "B")
    assert a.tolist() == [0.25, 1.75, -1] and len(b) == 4
    whole = merged(a.view(1, 1, -1), b.view(1, 1, -1)).weight.flatten()
    close(taps(page, "K"), whole)
    press(page, '[data-name="K"] .tap >> nth=3', "Shift")
    close(number(page, "picked"), whole[3])
    assert number(page, "product-off") == 0


def test_1_a_tap_is_dragged(page: Any) -> None:
    dot = page.locator('[data-name="B"] .tap').nth(1)
    dot.scroll_into_view_if_needed()
    box = dot.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = taps(page, "B")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 45, steps=5)
    page.mouse.up()
    after = taps(page, "B")
    assert after[1] > before[1] + 1 and after[1] * 4 % 1 == 0
    close(taps(page, "K"), merged(taps(page, "A").view(1, 1, -1), after.view(1, 1, -1)).weight.flatten())


def test_2_the_flip(page: Any) -> None:
    a, b = taps(page, "A"), taps(page, "B")
    whole = merged(a.view(1, 1, -1), b.view(1, 1, -1)).weight.flatten()
    press(page, 'input[data-name="flip-t"]', "ArrowRight", "ArrowRight")
    assert value(page, "flip-t") == 3
    close(number(page, "flip-sum"), whole[3])
    press(page, 'input[data-name="flip"]', "Space")
    other = F.conv1d(F.pad(a.view(1, 1, -1), (2, 2)), b.view(1, 1, -1)).flatten()
    close(number(page, "flip-sum"), other[3])
    close(number(page, "flip-k"), whole[3])
    assert "not the same" in page.locator('[data-name="flip-said"]').text_content()


def test_3_two_dimensions(page: Any) -> None:
    press(page, '[data-name="image-b-random"]', "Enter")
    press(page, '[data-name="image-a"] .cell', "ArrowRight", "ArrowRight", "ArrowUp", "PageUp")
    a, b = cells(page, "image-a"), cells(page, "image-b")
    assert a[0, 2] == 1 / 16 + 1.25
    whole = merged(a[None, None], b[None, None]).weight[0, 0]
    close(cells(page, "image-k"), whole)
    assert number(page, "image-off") == 0
    press(page, '[data-name="image-k"] .cell', "ArrowRight", "ArrowRight", "ArrowRight")
    close(number(page, "image-picked"), whole[0, 3])
    assert page.locator('[data-name="image-a"] .marked').count() == 2  # a cell at the edge has few parents
    press(page, 'input[data-name="image-nudge"]', "Space")
    assert number(page, "image-off") > 0


def test_4_many_channels(page: Any) -> None:
    press(page, 'input[data-name="channels-o"]', "ArrowRight")
    press(page, '[data-name="A-1-0"] .cell', "ArrowUp")

    def matrix(name: str, rows: int, columns: int) -> Tensor:
        return torch.stack(
            [torch.stack([cells(page, f"{name}-{r}-{c}")[0] for c in range(columns)]) for r in range(rows)]
        )

    a, b = matrix("A", 3, 2), matrix("B", 3, 3)
    whole = merged(a, b).weight
    close(matrix("K", 3, 2), whole)
    press(page, '[data-name="K-2-1"] .cell', "ArrowRight")
    close([number(page, f"channels-{t}") for t in range(3)], whole[2, 1])


def test_5_the_bias(page: Any) -> None:
    press(page, 'input[data-name="bias-b1-0"]', "ArrowRight")
    press(page, '[data-name="bias-kernel-1"] .cell', "ArrowDown")
    press(page, 'input[data-name="bias-at"]', "End")
    b = torch.stack([cells(page, f"bias-kernel-{m}") for m in range(2)])[None]
    b1, b2 = tensor([value(page, f"bias-b1-{m}") for m in range(2)]), tensor([value(page, "bias-b2")])
    bias = merged(torch.ones(2, 1, 1, 1).double(), b, b1, b2).bias
    close([number(page, "bias-b")], bias)
    close(cells(page, "bias-out"), bias.expand(3, 3))


def test_6_stride_and_upsampling(page: Any) -> None:
    table = page.locator('[data-play="window"] table')

    def facts() -> tuple[Any, Any]:
        return json.loads(table.get_attribute("data-kernels")), json.loads(table.get_attribute("data-windows"))

    press(page, 'input[data-name="window-d2"]', "ArrowRight")
    kernels, windows = facts()
    made = []
    for key, name in (("a", "first"), ("b", "second")):
        w = windows[name]
        layer = nn.Conv1d(1, 1, w["taps"], w["stride"], w["lo"], w["dilation"], bias=False).double()
        layer.weight = nn.Parameter(tensor(kernels[key]).view(1, 1, -1))
        made.append(layer)
    one = convfold.merge(*made)
    close(kernels["k"], one.weight.flatten())
    whole = windows["whole"]
    assert (whole["stride"], whole["dilation"], whole["lo"]) == (one.stride[0], one.dilation[0], one.padding[0])
    assert float(page.locator('[data-name="window-off"]').get_attribute("data-value")) == 0
    put(page, "window-u2", 2)
    assert "stride-upsample" in page.locator('[data-name="window-said"]').text_content()
    assert not facts()[1]["fits"]
    put(page, "window-s1", 3)
    assert facts()[1]["fits"] and number(page, "window-off") == 0


@pytest.mark.parametrize("p1", range(3))
@pytest.mark.parametrize("p2", range(3))
def test_7_the_border(page: Any, p1: int, p2: int) -> None:
    x = tensor(json.loads(page.locator('[data-play="border"]').get_attribute("data-picture")))[None, None]
    press(page, 'input[data-name="border-p1"]', "Home", *["ArrowRight"] * p1)
    press(page, 'input[data-name="border-p2"]', "Home", *["ArrowRight"] * p2)
    a, b = (cells(page, f"border-{name}")[None, None] for name in "ab")
    b1, b2 = tensor([value(page, "border-b1")]), tensor([0.5])
    true = F.conv2d(F.conv2d(x, a, b1, padding=p1), b, b2, padding=p2)
    one = merged(a, b, b1, b2)
    naive = F.conv2d(x, one.weight, one.bias, padding=p1 + p2)
    wrong = (naive - true)[0, 0]
    close(cells(page, "border-naive"), wrong)
    close(cells(page, "border-exact"), torch.zeros_like(wrong))
    assert number(page, "border-wrong") == (wrong.abs() > 1e-9).sum()
    close(number(page, "border-most"), wrong.abs().max())
    assert number(page, "border-right") == 0
    pieces = page.locator('[data-play="border"] .piece')
    assert pieces.count() == (2 * p2 + 1) ** 2
    middle = pieces.nth(pieces.count() // 2)
    close(json.loads(middle.get_attribute("data-kernel")), one.weight[0, 0])
    close([float(middle.get_attribute("data-bias"))], one.bias)


def test_7_a_ring_is_dragged(page: Any) -> None:
    frame = page.locator('[data-play="border"] .frame').nth(1)
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x + box["width"] * 0.34, y)
    page.mouse.down()
    page.mouse.move(x + box["width"] * 0.42, y, steps=4)
    page.mouse.up()
    assert (value(page, "border-p1"), value(page, "border-p2")) == (1, 2)
    assert cells(page, "border-exact").shape == (9, 9) and number(page, "border-right") == 0


def test_7_a_corner_is_its_own_kernel(page: Any) -> None:
    press(page, '[data-play="border"] .piece', "ArrowRight", "ArrowRight", "Enter")
    assert "top right corner" in page.locator('[data-name="border-piece"]').text_content()
    a, b = (cells(page, f"border-{name}") for name in "ab")
    b[0], b[:, 2] = 0, 0
    one = merged(a[None, None], b[None, None], tensor([value(page, "border-b1")]), tensor([0.5]))
    close(cells(page, "border-kernel"), one.weight[0, 0])
    close([number(page, "border-bias")], one.bias)
    press(page, '[data-name="border-naive"] .cell', "End")
    assert "bottom right corner" in page.locator('[data-name="border-piece"]').text_content()


def test_8_branches(page: Any) -> None:
    press(page, 'input[data-name="branches-gamma-1"]', "ArrowLeft")
    press(page, '[data-name="branches-kernel-0"] .cell', "ArrowUp")
    for kept in ((0, 1, 2), (0, 2)):
        weight, bias = torch.zeros(1, 1, 3, 3).double(), torch.zeros(1).double()
        for n in kept:
            norm = nn.BatchNorm2d(1).double().eval()
            beta, mean = ((0.5, 0.75), (-0.25, -0.5), (0, 0.25))[n]
            for statistic, v in (
                (norm.weight, value(page, f"branches-gamma-{n}")),
                (norm.bias, beta),
                (norm.running_mean, mean),
                (norm.running_var, value(page, f"branches-variance-{n}")),
            ):
                statistic.data.fill_(v)
            kernel = cells(page, f"branches-kernel-{n}")[None, None]
            layer = nn.Conv2d(1, 1, kernel.shape[-1], bias=False).double()
            layer.weight = nn.Parameter(kernel)
            one = convfold.merge(layer, norm, check=False)
            pad = 1 - kernel.shape[-1] // 2
            weight, bias = weight + F.pad(one.weight, (pad,) * 4), bias + one.bias
        close(cells(page, "branches-k"), weight[0, 0])
        close([number(page, "branches-bias")], bias)
        assert float(page.locator('[data-name="branches-off"]').get_attribute("data-value")) < 1e-12
        press(page, 'input[data-name="branches-on-1"]', "Space")


def test_9_a_bend(page: Any) -> None:
    numbers = json.loads(page.locator('[data-play="bend"]').get_attribute("data-numbers"))
    x, a, b = (tensor(numbers[key]).view(1, 1, -1) for key in ("x", "a", "b"))

    def f(t: float) -> Tensor:
        return F.conv1d(
            F.leaky_relu(F.conv1d(x * t, a) + value(page, "bend-b1"), value(page, "bend-slope")), b
        ).flatten()

    for key in ("Home", "PageUp", "End"):
        press(page, 'input[data-name="bend-slope"]', key)
        press(page, 'input[data-name="bend-t"]', "ArrowLeft")
        t = value(page, "bend-t")
        line = f(0) + t * (f(1) - f(0))
        close([number(page, "bend-true")], f(t))
        close([number(page, "bend-line")], line)
        close([number(page, "bend-gap")], (f(t) - line).abs())
    assert number(page, "bend-gap") < 1e-12  # no bend


def test_10_when_not_to_merge(page: Any) -> None:
    press(page, 'input[data-name="cost-m"]', "Home", *["ArrowRight"] * 5)
    put(page, "cost-size", 16)
    i, m, o, k1, k2 = (int(value(page, f"cost-{name}")) for name in ("i", "m", "o", "k1", "k2"))
    layers = nn.Sequential(nn.Conv2d(i, m, k1, padding=k1 // 2), nn.Conv2d(m, o, k2, padding=k2 // 2))
    k = k1 + k2 - 1
    x = (torch.randn(1, i, 16, 16),)
    macs = [convfold.explain(model, x).before.macs for model in (layers, nn.Conv2d(i, o, k, padding=k // 2))]
    shown = page.locator('[data-play="cost"] .bar-value').evaluate_all("all => all.map(e => Number(e.dataset.value))")
    assert shown == macs and m == 6
    assert "Leave them apart" in page.locator('[data-name="cost-said"]').text_content()


def test_pasted_layers(page: Any) -> None:
    page.locator("#paste").fill("nn.Conv2d(3, 32, 3)\nnn.Conv2d(32, 4, 3, stride=2)")
    put(page, "paste-size", 32)
    code = page.locator('[data-name="paste-code"]').text_content()
    made: dict[str, Any] = {}
    exec(code, made)
    assert f"# {made['merged1']!r}" in code.splitlines()
    layers = nn.Sequential(made["layer1"], made["layer2"])
    x = (torch.randn(1, 3, 32, 32),)
    assert number(page, "paste-before") == convfold.explain(layers, x).before.macs
    assert number(page, "paste-after") == convfold.explain(made["merged1"], x).before.macs
    page.locator("#paste").fill("nn.Conv2d(3, n, 3)")
    assert "Line 1: “n” is no number" in page.locator('[data-name="paste-result"]').text_content()


def test_a_report_is_opened(page: Any, tmp_path: Path) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 9, 3), nn.Conv2d(9, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.Conv2d(2, 40, 3)
    ).eval()
    report = convfold.explain(model, (torch.randn(1, 3, 20, 20),))
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report.to_dict()), encoding="utf-8")
    page.locator("#report").set_input_files(path)
    result = page.locator('[data-name="report-result"]')
    result.locator("table").first.wait_for()
    row = result.locator("table").first.locator("tr").nth(1)
    shown = [int(cell.get_attribute("data-value")) for cell in row.locator("td[data-value]").all()]
    assert shown == [report.before.macs, report.after.macs]
    assert "1 × does-not-pay" in result.text_content()
    (tmp_path / "other.json").write_text("[]", encoding="utf-8")
    page.locator("#report").set_input_files(tmp_path / "other.json")
    result.locator(".wrong").wait_for()
    assert "convfold explain MODEL --json" in result.text_content()


def test_every_control_is_reached_and_named(page: Any) -> None:
    """Every control has a name, and a Tab stop of its own or in its group."""
    lost = page.evaluate(
        """() => [...document.querySelectorAll(
            "input, button, textarea, a, [role=slider], [role=spinbutton]"
        )].filter(e => {
            const name = e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.[0]?.textContent.trim();
            const group = e.closest("[role=group]");
            const reached = e.tabIndex >= 0 || group?.querySelector('[tabindex="0"]');
            return !name || !reached;
        }).map(e => e.outerHTML.slice(0, 120))"""
    )
    assert lost == []


def test_the_keyboard_alone_goes_through_the_page(page: Any) -> None:
    everything = {"nav", *page.locator("section[id]").evaluate_all("all => all.map(s => s.id)")}
    reached: set[str] = set()
    page.locator(".skip").focus()
    for _ in range(400):
        if reached >= everything:
            break
        page.keyboard.press("Tab")
        at = page.evaluate(
            "() => { const s = document.activeElement.closest('section, nav'); return s && (s.id || 'nav'); }"
        )
        reached |= {at} - {None}
    assert reached >= everything


def test_a_slider_is_moved_by_every_key_it_should(page: Any) -> None:
    tap = page.locator('[data-name="A"] .tap').first
    tap.focus()
    for key, expected in (
        ("ArrowRight", 1.25),
        ("ArrowLeft", 1),
        ("PageUp", 2),
        ("Home", -3),
        ("End", 3),
        ("ArrowUp", 3),
    ):
        page.keyboard.press(key)
        assert float(tap.get_attribute("aria-valuenow")) == expected
        assert tap.evaluate("e => e === document.activeElement")


@pytest.mark.parametrize("width", (360, 390, 768, 1280))
def test_nothing_is_wider_than_the_screen(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    put(page, "border-p1", 2)
    put(page, "border-p2", 2)
    put(page, "channels-m", 4)
    put(page, "channels-i", 3)
    wide = page.evaluate("document.documentElement.scrollWidth")
    page.set_viewport_size({"width": 1280, "height": 900})
    assert wide <= width


@pytest.mark.parametrize("scheme", ("light", "dark"))
def test_both_themes(page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    read = "getComputedStyle(document.body).backgroundColor"
    system = page.evaluate(read)
    other = "light" if scheme == "dark" else "dark"
    for _ in range(3):
        press(page, ".theme", "Enter")
        theme = page.locator(".theme").text_content().removeprefix("Theme: ")
        assert (page.evaluate(read) == system) == (theme != other)
    assert theme == "auto"
    page.emulate_media(color_scheme="light")


@pytest.mark.parametrize("scheme, width", (("light", 1280), ("dark", 390)))
def test_axe_finds_nothing(page: Any, scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    found = axe.Axe().run(page, options={"preload": False, "resultTypes": ["violations"]}).response["violations"]
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 900})
    assert [(v["id"], v["impact"], [n["html"][:90] for n in v["nodes"][:3]]) for v in found] == []


def test_less_motion_is_respected(page: Any) -> None:
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
