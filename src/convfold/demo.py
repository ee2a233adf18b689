"""``convfold demo``: two kernels become one; then a trained network, and one that was published, become smaller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn
from torch.nn import functional as F

from convfold.algebra.convolution import Convolution
from convfold.bench import compare
from convfold.errors import InvalidInput
from convfold.fold import fold
from convfold.report import count

#: Says what is going on while it goes on.
Working = Callable[[str], AbstractContextManager[Any]]


def demo(console: Console, working: Working, *, epochs: int = 8, seconds: float = 2.0) -> bool:
    """All of it, printed; true if the folded network predicts what the trained one does, on every test image.

    Raises:
        InvalidInput: scikit-learn is not installed.
    """
    if find_spec("sklearn") is None:
        raise InvalidInput("the demo needs scikit-learn: pip install 'convfold[demo]'")
    show_kernels(console)
    same = show_digits(console, working, epochs, seconds)
    show_published(console, working, seconds)
    return same


def show_kernels(console: Console) -> None:
    """A blur, then an edge filter: 3×3 and 3×3 are one 5×5, whose numbers can be checked by hand."""
    blur = _conv([[1, 2, 1], [2, 4, 2], [1, 2, 1]])
    edge = _conv([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    both = Convolution.of(edge) @ Convolution.of(blur)
    image = torch.randint(256, (1, 1, 28, 30)).double()
    difference = float((edge(blur(image)) - both(image)).abs().max())
    console.rule("Two kernels become one")
    row = Table.grid(padding=(0, 2))
    row.add_row(_picture(blur.weight[0, 0]), "\nthen", _picture(edge.weight[0, 0]), "\nis", _picture(both.kernel[0, 0]))
    console.print(row)
    console.print(
        f"Largest difference on a random image: {difference:g}. For one channel that is 9 + 9 multiplications a pixel "
        "in two steps and 25 in one, so convfold leaves two such layers alone. From 16 channels through 64 to "
        "16 it is 18432 in two steps and 6400 in one: it folds those. It looks for the cheapest equal form.\n"
    )


def show_digits(console: Console, working: Working, epochs: int, seconds: float) -> bool:
    """Train, fold, compare: size, accuracy, every prediction, time."""
    with working("training on scikit-learn's digits"):
        train, test = digits()
        network = trained(over_parameterised(), *train, epochs)
    images, labels = test
    with working("folding"):
        result = fold(network, (images[:1],))
    with torch.no_grad():
        before, after = network(images), result.module(images)
    same = int((before.argmax(1) == after.argmax(1)).sum())
    batch = images[:64]
    with working("measuring"):
        timed = compare([lambda: network(batch), lambda: result.module(batch)], seconds=seconds)
    console.rule("A network trained with more layers than it needs")
    result.report.print(console)
    old, new = (1e3 * t.median for t in timed.timings)
    facts = Table(box=None, pad_edge=False, show_header=False)
    for name, fact in {
        "test accuracy": f"{_accuracy(before, labels):.2%} → {_accuracy(after, labels):.2%}",
        "the same prediction": f"{same} of {len(labels)} test images",
        "largest difference of a logit": f"{float((before - after).abs().max()):.1e}",
        f"time for {len(batch)} images": f"{old:.3g} → {new:.3g} ms, {timed.speedup:.2f} × faster "
        f"(medians of {timed.timings[0].rounds} runs in turn, threads: {timed.threads})",
    }.items():
        facts.add_row(name, fact)
    console.print(facts, "")
    return same == len(labels)


def show_published(console: Console, working: Working, seconds: float) -> None:
    """Two architectures of `transformers` that were made to be folded, unmodified, with random weights."""
    console.rule("Published architectures, as transformers builds them, at 224²")
    found = [p for p in PUBLISHED if p.installed]
    if not found:
        console.print("None found: with `pip install transformers` PP-LCNetV3 and TextNet are shown here.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("", "multiply-adds", "convolutions + linears", "batch norms", "time", "off by (allowed)"):
        table.add_column(heading, justify="right" if heading else "left")
    for published in found:
        table.add_row(published.name, *_folded(published, working, seconds))
    console.print(table)


def _folded(published: Published, working: Working, seconds: float) -> tuple[str, ...]:
    """Its row of the table."""
    network, image = published.build(), torch.randn(1, 3, 224, 224)
    with working(f"folding {published.name}"):
        result = fold(network, (image,))
    with working("measuring"):
        timed = compare([lambda: network(image), lambda: result.module(image)], seconds=seconds)
    before, after, error = result.report.before, result.report.after, result.report.error
    assert error is not None
    old, new = (1e3 * t.median for t in timed.timings)
    return (
        f"{count(before.macs)} → {count(after.macs)}",
        f"{before.layers} → {after.layers}",
        f"{before.batch_norms} → {after.batch_norms}",
        f"{old:.3g} → {new:.3g} ms",
        f"{error.exactness:.1e} ({error.allowed:.1e})",
    )


class Branches(nn.Module):
    """RepVGG's block (arXiv 2101.03697): 3×3, 1×1 and, where the shapes allow, nothing; each normalised; summed."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        norm = nn.BatchNorm2d
        self.dense = nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), norm(c_out))
        self.pointwise = nn.Sequential(nn.Conv2d(c_in, c_out, 1, bias=False), norm(c_out))
        self.identity = norm(c_in) if c_in == c_out else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.dense(x) + self.pointwise(x)
        return F.relu(y if self.identity is None else y + self.identity(x))


def small() -> tuple[nn.Module, Tensor]:
    """A network to try the command line on, ``convfold fold convfold.demo:small -o small.pt2``, and an image for it.

    Four blocks, a padded pair that would cost more as one, a tail that upsamples.
    """
    torch.manual_seed(0)
    blocks = [Branches(3, 32), *(Branches(32, 32) for _ in range(3))]
    pair = [nn.Conv2d(32, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()]
    tail = [nn.Conv2d(16, 64, 3, padding=1), nn.PixelShuffle(2), nn.Conv2d(16, 3, 1)]
    net = nn.Sequential(*blocks, *pair, *tail)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):  # as if trained: fresh statistics do nothing
            assert m.running_mean is not None and m.running_var is not None
            nn.init.normal_(m.running_mean, std=0.3)
            nn.init.uniform_(m.running_var, 0.5, 2.0)
    return net.eval(), torch.randn(1, 3, 64, 64)


def expanded(channels: int, hidden: int) -> nn.Sequential:
    """Expanded linear block (arXiv 1811.10495): up, 3×3, down, nothing between. Padded first: exact at the border."""
    up, down = nn.Conv2d(channels, hidden, 1, padding=1), nn.Conv2d(hidden, channels, 1)
    return nn.Sequential(up, nn.Conv2d(hidden, hidden, 3), down, nn.ReLU())


def over_parameterised(seed: int = 0) -> nn.Sequential:
    """8×8 grey images → 10 classes."""
    torch.manual_seed(seed)
    return nn.Sequential(
        Branches(1, 16),
        Branches(16, 16),
        expanded(16, 32),
        nn.MaxPool2d(2),
        Branches(16, 32),
        Branches(32, 32),
        expanded(32, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 64),
        nn.Linear(64, 10),
    )


def digits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """1797 handwritten digits of 8×8: (images, labels), two thirds to train on and one third to test."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16  # (1797, 1, 8, 8)
    labels = torch.tensor(data.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, test = order[:1200], order[1200:]
    return (images[train], labels[train]), (images[test], labels[test])


def trained(network: nn.Module, images: Tensor, labels: Tensor, epochs: int, batch: int = 100) -> nn.Module:
    """The same network after training, in eval mode."""
    steps = epochs * (len(labels) // batch)
    optimiser = torch.optim.AdamW(network.parameters(), 0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.01, total_steps=steps)
    generator = torch.Generator().manual_seed(0)
    network.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(labels), generator=generator).split(batch):
            optimiser.zero_grad()
            F.cross_entropy(network(images[chosen]), labels[chosen]).backward()
            optimiser.step()
            schedule.step()
    return network.eval()


@dataclass(frozen=True)
class Published:
    """``<prefix><head>(<prefix>Config(**options))`` of ``transformers.models.<family>``; nothing is downloaded."""

    name: str
    family: str
    prefix: str
    head: str
    output: str
    options: Mapping[str, Any]

    @property
    def installed(self) -> bool:
        return find_spec("transformers") is not None and find_spec(f"transformers.models.{self.family}") is not None

    def build(self) -> nn.Module:
        """Random weights, and statistics that matter: fresh batch norms do nothing, and a fold of nothing is easy."""
        package = f"transformers.models.{self.family}"
        config = getattr(import_module(f"{package}.configuration_{self.family}"), f"{self.prefix}Config")
        model = getattr(import_module(f"{package}.modeling_{self.family}"), f"{self.prefix}{self.head}")
        torch.manual_seed(0)
        network: nn.Module = model(config(**self.options)).eval()
        for m in network.modules():
            if isinstance(m, nn.BatchNorm2d):
                nn.init.normal_(m.running_mean, std=0.3)  # type: ignore[arg-type]
                nn.init.uniform_(m.running_var, 0.5, 2.0)  # type: ignore[arg-type]
        return Output(network, self.output)


PUBLISHED = (
    Published("PP-LCNetV3", "pp_lcnet_v3", "PPLCNetV3", "Backbone", "feature_maps", {}),
    Published("TextNet", "textnet", "TextNet", "ForImageClassification", "logits", {"num_labels": 1000}),
)


class Output(nn.Module):
    """A `transformers` model that returns one field of its output."""

    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def forward(self, pixel_values: Tensor) -> Any:
        return self.model(pixel_values)[self.name]


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())


def _conv(kernel: list[list[int]]) -> nn.Conv2d:
    conv = nn.Conv2d(1, 1, 3, bias=False, dtype=torch.float64)
    conv.weight.data = torch.tensor(kernel, dtype=torch.float64)[None, None]
    return conv.requires_grad_(False)


def _picture(kernel: Tensor) -> Text:
    """The kernel's numbers, on blue below zero and on orange above."""
    largest = float(kernel.abs().max())
    rows = []
    for row in kernel.tolist():
        rows.append(Text())
        for value in row:
            strength = abs(value) / largest
            r, g, b = (255, 150, 40) if value > 0 else (60, 130, 255)
            colour = "#" + "".join(f"{round(25 + (c - 25) * strength):02x}" for c in (r, g, b))
            rows[-1].append(f"{value:4.0f} ", Style(bgcolor=colour, color="black" if strength > 0.5 else "white"))
    return Text("\n").join(rows)
