"""``python -m benchmarks.report_page``: how long a report of 2,000 operations takes to open and to scroll, in Chromium.

A row a page: its size, how long the browser takes from being asked for the file until its script has drawn it, and the
time between frames while it is scrolled from top to bottom and, in the page where two kernels become one, while a
slider is moved: the median and the longest. Claims: a report of 2,000 operations opens in less than 2 s, half of all
frames come at 60 a second. A browser without a screen draws on the processor: a screen's own are faster.
Exits with 1 where they are missed.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

import convfold
import zoo
from benchmarks.record import console, progress, record

OPENS, FRAME = 2.0, 1.1 * 1000 / 60
PAGE = Path(__file__).parents[1] / "docs" / "two-kernels" / "index.html"

#: Scrolls a page in steps of one frame and says how long each took, in ms.
SCROLL = """async () => {
  const frame = () => new Promise(requestAnimationFrame), all = document.documentElement.scrollHeight, found = [];
  let last = await frame();
  for (let i = 1; i <= 120; i++) {
    scrollTo({ top: (all * i) / 120, behavior: "instant" });
    const now = await frame();
    found.push(now - last);
    last = now;
  }
  return found;
}"""
#: Moves every slider of a station, likewise.
SLIDE = """async () => {
  const frame = () => new Promise(requestAnimationFrame), found = [];
  for (const slider of document.querySelectorAll("input[type=range]")) {
    slider.scrollIntoView({ behavior: "instant" });
    await frame();
    let last = await frame();
    for (let i = 0; i < 12; i++) {
      slider.value = Number(slider.min) + ((Number(slider.max) - Number(slider.min)) * (i % 6)) / 5;
      slider.dispatchEvent(new Event("input", { bubbles: true }));
      const now = await frame();
      found.push(now - last);
      last = now;
    }
  }
  return found;
}"""


class Block(nn.Module):
    """Four operations that become two."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x))) + x


def large() -> convfold.Report:
    """Of 2,000 operations: ten stages of fifty blocks."""
    net = nn.Sequential(*(nn.Sequential(*(Block() for _ in range(50))) for _ in range(10))).eval()
    return convfold.explain(net, torch.randn(1, 4, 8, 8))


def measure(browser: Any, path: Path, moved: str | None) -> dict[str, Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    start = perf_counter()
    page.goto(path.as_uri(), wait_until="load")
    opened = perf_counter() - start
    found = {"bytes": path.stat().st_size, "opens": opened, "scroll": _frames(page.evaluate(SCROLL))}
    if moved is not None:
        found["slide"] = _frames(page.evaluate(moved))
    context.close()
    return found


def _frames(times: list[float]) -> list[float]:
    return [statistics.median(times), max(times)]


def main() -> int:
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    if path is None:
        progress.print("needs Chromium: apt-get install chromium")
        return 1
    table = Table(box=None, pad_edge=False)
    for heading in ("page", "kB", "opens in s", "ms a frame: scrolled", "a slider moved", "missed"):
        table.add_column(heading, justify="left" if heading in ("page", "missed") else "right")
    failed = False
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        pages: dict[str, tuple[Path, str | None]] = {"two kernels become one": (PAGE, SLIDE)}
        for name in ("2,000 operations", "resnet-18", "segformer-b0"):
            progress.print(f"{name} …")
            case = None if "," in name else zoo.build(name)
            report = large() if case is None else convfold.explain(case.model, case.args)
            report.save(Path(folder) / f"{name}.html", name)
            pages[f"report of {name}"] = (Path(folder) / f"{name}.html", None)
        for name, (file, moved) in pages.items():
            found = measure(browser, file, moved)
            record("report_page", {name: found})
            frames = [found[kind] for kind in ("scroll", "slide") if kind in found]
            missed = ["opens late"] * (found["opens"] > OPENS) + ["frames"] * any(m > FRAME for m, _ in frames)
            failed |= bool(missed)
            shown = [f"{median:.1f}, at most {most:.0f}" for median, most in frames]
            table.add_row(
                name, f"{found['bytes'] / 1e3:.0f}", f"{found['opens']:.2f}", *shown, *[""] * (2 - len(shown)),
                ", ".join(missed),
            )  # fmt: skip
        browser.close()
    console.print(table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
