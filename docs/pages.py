"""``python docs/pages.py``: writes the pages that are made of what is on record; a test fails where one is out of date.

docs/gallery.md and docs/in-place.md are made of benchmarks/results, docs/reference/reasons.md of
`convfold.errors.REASONS`, docs/reference/cli.md of the commands' own help.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from convfold.cli import main as command
from convfold.errors import REASONS, REMEDIES
from convfold.report import count

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"

#: What each network of the gallery is called, and where it was published.
NETWORKS = {
    "bit-50": "BiT-50, 1912.11370",
    "convnext-tiny": "ConvNeXt-T, 2201.03545",
    "csrnet": "CSRNet, 1802.10062",
    "dcgan-generator": "DCGAN's generator, 1511.06434",
    "densenet-121": "DenseNet-121, 1608.06993",
    "depth-anything-small": "Depth Anything S, 2401.10891",
    "dpt": "DPT on ViT-S, 2103.13413",
    "edsr-baseline-x4": "EDSR-baseline ×4, 1707.02921",
    "fastvit-sa12": "FastViT-SA12, 2303.14189",
    "fsrcnn-x3": "FSRCNN ×3, 1608.00367",
    "gcn-50": "GCN on ResNet-50, 1703.02719",
    "ghostnetv3": "GhostNetV3, 2404.11202",
    "infogan-generator": "InfoGAN's generator, 1606.03657",
    "levit-128": "LeViT-128, 2104.01136",
    "mobilenet-v2": "MobileNetV2, 1801.04381",
    "mobileone-s0": "MobileOne-S0, 2206.04040",
    "poolformer-s12": "PoolFormer-S12, 2111.11418",
    "pp-lcnet-v3": "PP-LCNetV3, 2109.15099 (its first version)",
    "repvgg-a0": "RepVGG-A0, 2101.03697",
    "repvit-m0.9": "RepViT-M0.9, 2307.09283",
    "resnet-18": "ResNet-18, 1512.03385",
    "rt-detr-r18": "RT-DETR-R18, 2304.08069",
    "segformer-b0": "SegFormer-B0, 2105.15203",
    "sesr-m5-x2": "SESR-M5 ×2, 2103.09404",
    "swin-tiny": "Swin-T, 2103.14030",
    "textnet": "TextNet (FAST), 2111.02394",
    "unet": "U-Net, 1505.04597",
    "upernet-convnext-tiny": "UPerNet on ConvNeXt-T, 1807.10221",
    "vit-small": "ViT-S, 2010.11929",
    "yolo-small": "A detector like YOLOv5-S",
}

RUNTIMES = {"eager": "eager", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}

REASONS_TOP = """# Reasons

Every stretch that is left as it is has a code, in the report (`report.refused`), in `--json` and on `NotFoldable`.
Codes are stable.

```python
import convfold

print(len(convfold.REASONS))
```

```output
{n}
```
"""

COMMANDS_TOP = """# Command line

Standard output holds the data and nothing else, standard error says what is going on. Exit codes: 0 done, 1 failed, 2
usage, 3 verification failed (nothing written), 4 nothing folded (with `--require-change`), 130 interrupted.
"""

GALLERY_TOP = """# Gallery

What a fold finds in thirty known networks, unmodified: built from `transformers`, or written from their papers in the
form they are trained in (`zoo/`). Weights are random, but no statistic is trivial. Figures are those on record:
`python -m benchmarks.gallery` (the plan), `python -m benchmarks.runtimes` (the times: batch 1, one thread, original
over folded, medians with their interval of 95 %; the machine had other work beside).

Where the multiply-adds are the same, batch norms and calls are what is saved. *Same file* is an ONNX file in which
nothing was left to fold: the exporter had put what batch norms there were into the convolutions. A blank has not been
timed.

"""

IN_PLACE_TOP = """# In place

`fold_` puts a plan back into the modules that a model is made of: [Keep blocks apart](how-to/keep-blocks.md). What that
keeps is measured on models as their libraries give them, called with the library's own arguments
(`python -m benchmarks.own_model`; weights and statistics are random). Outputs are of the library's own types; *differs*
is the largest difference of any, relative to its norm. In every row a forward hook was heard on each module that is
still in the tree, a converted checkpoint of fresh weights is what folding them gives, and undoing it gives the same
numbers to the last bit.

*Of the saving* is the share of the multiply-adds that `fold` of the whole would save. It is less than all where a
stretch crosses modules at the very top: a model is never replaced by one flat graph. Those are reported as
[`crosses-module`](reference/reasons.md#crosses-module). A model of which none can be saved has batch norms and calls to
save, and no share.

"""

TIMM_TOP = """
## Beside timm's own

timm has methods written by hand, some 930 lines, that put the branches of its blocks into one layer
(`reparameterize_model`). Layers (convolutions and linears) and batch norms that are left by those, and by `fold_`
(`python -m benchmarks.reparameterised`; timm {version}):

"""

#: A space where no line ends.
NARROW = "\u202f"

WRITTEN = "<!-- Written by `python docs/pages.py`. -->\n\n"


def reasons() -> str:
    """docs/reference/reasons.md."""
    parts = [REASONS_TOP.format(n=len(REASONS))]
    for code, words in REASONS.items():
        parts.append(f"\n## {code}\n\n{words[0].upper()}{words[1:]}.\n\n**To fold it:** {REMEDIES[code].strip()}\n")
    return WRITTEN + "".join(parts)


def commands() -> str:
    """docs/reference/cli.md."""
    parts = [COMMANDS_TOP, f"\n```console\n$ convfold --help\n{_help([])}```\n"]
    for name in sorted(command.commands):
        parts.append(f"\n## {name}\n\n```console\n$ convfold {name} --help\n{_help([name])}```\n")
    return WRITTEN + "".join(parts)


def _help(words: list[str]) -> str:
    return CliRunner().invoke(command, [*words, "--help"], prog_name="convfold").stdout


def gallery() -> str:
    """docs/gallery.md."""
    found, timed = _read("gallery"), _read("runtimes")
    rows = {name: found[name] for name in NETWORKS}
    order = sorted(rows, key=lambda name: (rows[name]["macs"][1] / rows[name]["macs"][0], name))
    parts = [GALLERY_TOP]
    parts.append(bars({name: tuple(rows[name]["macs"]) for name in order}) + "\n")
    headings = ["network", "multiply-adds", "", "operations", *RUNTIMES.values()]
    parts.append(_row(headings) + _row(["---"] * len(headings)))
    for name in order:
        macs, (ops, fewer) = rows[name]["macs"], rows[name]["ops"]
        times = [_speed(timed, name, runtime) for runtime in RUNTIMES]
        link, calls = f"[{_title(name)}](#{_anchor(name)})", f"{ops}{NARROW}→{NARROW}{fewer}"
        parts.append(_row([link, _pair(macs), _change(macs), calls, *times]))
    for name in order:
        parts.append(_network(name, rows[name]))
    return WRITTEN + "".join(parts)


def in_place() -> str:
    """docs/in-place.md."""
    headings = ["network", "multiply-adds", "of the saving", "modules folded", "layers merged", "weights", "differs"]
    parts = [IN_PLACE_TOP, _row(headings), _row(["---"] * len(headings))]
    for name, case in _read("own_model").items():
        share = "" if case["kept"] is None else f"{min(100 * case['kept'], 100):.0f}{NARROW}%"
        names = "{}{n}→{n}{}".format(*case["keys"][:2], n=NARROW)
        kept = [_pair(case["macs"]), share, case["blocks"], case["merged"], names, f"{case['differs']:.1e}"]
        parts.append(_row([f"`{name}`", *kept]))
    headings = ["network", "as it is trained", "timm's own", "`fold_`", "differs: timm's", "`fold_`"]
    parts += [TIMM_TOP.format(version="1.0.31"), _row(headings), _row(["---"] * len(headings))]
    for name, case in _read("reparameterised").items():
        of = [_left(case[who]) for who in ("model", "timm", "ours")]
        parts.append(_row([name, *of, *(_off(case[who]) for who in ("timm", "ours"))]))
    return WRITTEN + "".join(parts)


def _left(case: Mapping[str, Any]) -> str:
    return "fails" if "failed" in case else f"{case['layers']} / {case['norms']}".replace(" ", NARROW)


def _off(case: Mapping[str, Any]) -> str:
    return "" if "failed" in case else f"{case['differs']:.0e}"


def bars(macs: Mapping[str, tuple[int, int]]) -> str:
    """What is left of the multiply-adds, a bar a network: an SVG in the page's own colours."""
    row, left, wide = 20, 190, 460
    height = row * len(macs) + 10
    lines = [
        '<div class="scrolls"><svg class="bars" role="img" aria-label="multiply-adds that are left, in per cent" '
        f'viewBox="0 0 720 {height}" xmlns="http://www.w3.org/2000/svg">'
    ]
    for i, (name, (before, after)) in enumerate(macs.items()):
        y, share = row * i + 4, after / before
        lines.append(f'<text x="{left - 8}" y="{y + 11}" text-anchor="end">{_title(name)}</text>')
        lines.append(f'<rect class="all" x="{left}" y="{y}" width="{wide}" height="14"/>')
        lines.append(f'<rect class="left" x="{left}" y="{y}" width="{wide * share:.1f}" height="14"/>')
        lines.append(f'<text x="{left + wide + 8}" y="{y + 11}">{100 * share:.1f} %</text>')
    return "\n".join([*lines, "</svg></div>", "", "*Multiply-adds that are left.*", ""])


def _network(name: str, case: Mapping[str, Any]) -> str:
    """Its section: what was found, alike stretches together."""
    shapes = ", ".join("×".join(map(str, shape)) for shape in case["input"])
    layers, norms = case["layers"], case["batch_norms"]
    paper = NETWORKS[name].partition(", ")[2]
    published = f"arXiv {paper}; " if paper else ""
    lines = [f"\n## {_title(name)} {{ #{_anchor(name)} }}\n\n{published}`{name}` in `zoo/`, input {shapes}. "]
    lines.append(f"Convolutions and linears {layers[0]} → {layers[1]}, batch norms {norms[0]} → {norms[1]}.\n\n")
    stretches = case["stretches"]
    if stretches:
        headings = ["times", "from", "to", "multiply-adds"]
        lines.append(_row(headings) + _row(["---"] * len(headings)))
    for s in stretches[:5]:
        before, after = s["macs"]
        lines.append(_row([s["times"], s["from"], s["to"], _count(after) if before == after else _pair(s["macs"])]))
    if rest := sum(s["times"] for s in stretches[5:]):
        kinds = len(stretches) - 5
        lines.append(_row([rest, f"others, of {kinds} kind{'s' * (kinds != 1)}", "", ""]))
    if borders := case["borders"]:
        lines.append("\nBorders: " + "; ".join(f"{n} × {way}" for way, n in borders.items()) + ".\n")
    if left := case["left"]:
        codes = ", ".join(f"{n} × [`{code}`](reference/reasons.md#{code})" for code, n in left.items())
        lines.append(f"\nLeft: {codes}.\n")
    return "".join(lines)


def _row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |\n"


def _speed(timed: Mapping[str, Any], name: str, runtime: str) -> str:
    case = timed.get(f"{name}, {runtime}, batch 1")
    if case is None or "folded" not in case:
        return ""
    if case["same"]:
        return "same file"
    middle, low, high = (f"{x:#.3g}" for x in case["folded"])
    return f"{middle} [{low}, {high}]".replace(" ", NARROW)


def _count(n: float) -> str:
    return count(n).replace(" ", NARROW)


def _pair(pair: tuple[int, int]) -> str:
    return f"{_count(pair[0])}{NARROW}→{NARROW}{_count(pair[1])}"


def _change(pair: tuple[int, int]) -> str:
    return f"{100 * (pair[1] - pair[0]) / pair[0]:+.1f}{NARROW}%" if pair[0] != pair[1] else "same"


def _title(name: str) -> str:
    return NETWORKS[name].partition(",")[0]


def _anchor(name: str) -> str:
    return name.replace(".", "")


def _read(name: str) -> dict[str, Any]:
    return dict(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))


PAGES: Mapping[str, Callable[[], str]] = {
    "gallery.md": gallery,
    "in-place.md": in_place,
    "reference/reasons.md": reasons,
    "reference/cli.md": commands,
}


def main() -> None:
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
        print(f"written: docs/{name}", file=sys.stderr)


if __name__ == "__main__":
    main()
