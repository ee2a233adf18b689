"""The page's arithmetic, run by Node, against torch and the library: float64 on both sides, 1e-12."""

from __future__ import annotations

import json
from itertools import pairwise, product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convfold
from convfold.algebra import series
from convfold.algebra.convolution import Convolution
from convfold.algebra.window import Window
from convfold.errors import REASONS, NotFoldable
from convfold.report import count
from tests.page.conftest import PAGE, Ask


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def close(got: Any, expected: Any) -> None:
    torch.testing.assert_close(
        torch.as_tensor(got, dtype=torch.float64),
        torch.as_tensor(expected, dtype=torch.float64).detach(),
        rtol=0,
        atol=1e-12,
    )


def conv(weight: Tensor, bias: Tensor | None = None, **options: Any) -> nn.Module:
    """The layer of torch.nn with these weights."""
    kind = (nn.Conv1d, nn.Conv2d)[weight.dim() - 3]
    made = kind(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), bias=bias is not None, **options).double()
    with torch.no_grad():
        made.weight.copy_(weight)
        if made.bias is not None and bias is not None:
            made.bias.copy_(bias)
    return made


def test_polynomials(ask: Ask) -> None:
    drawn = [(draw(k1), draw(k2), draw(17)) for k1, k2 in product((1, 2, 3, 5), repeat=2)]
    names = (("product", 0, 1), ("unflipped", 0, 1), ("correlate", 2, 0))
    answers = ask(*((f"polynomial.{name}", *(one[n].tolist() for n in of)) for one in drawn for name, *of in names))
    for (a, b, x), whole, other, y in zip(drawn, answers[::3], answers[1::3], answers[2::3], strict=True):
        a, b, x = (v.view(1, 1, -1) for v in (a, b, x))
        close(whole, convfold.merge(conv(a), conv(b), check=False).weight.flatten())
        margin = b.shape[-1] - 1
        close(other, F.conv1d(F.pad(a, (margin, margin)), b).flatten())
        close(y, F.conv1d(x, a).flatten())


def test_pairs_make_the_taps(ask: Ask) -> None:
    a, b = draw(4), draw(3)
    (whole, *pairs) = ask(
        ("polynomial.product", a.tolist(), b.tolist()), *(("polynomial.pairs", t, 4, 3) for t in range(6))
    )
    close([sum(a[i] * b[j] for i, j in found) for found in pairs], whole)


def test_two_dimensions(ask: Ask) -> None:
    for s1, s2 in product(((3, 3), (2, 3), (1, 4)), ((3, 3), (3, 1), (3, 5))):
        a, b, x = draw(*s1), draw(*s2), draw(9, 12)
        merged = convfold.merge(conv(a[None, None]), conv(b[None, None]), check=False)
        (whole, y, *found) = ask(
            ("grid.compose", a.tolist(), b.tolist()),
            ("grid.layer", x.tolist(), a.tolist(), 0.75, 2),
            *(("grid.parents", r, c, a.tolist(), b.tolist()) for r, c in ((0, 0), (1, 2))),
        )
        close(whole, merged.weight[0, 0])
        close(y, F.conv2d(x[None, None], a[None, None], torch.tensor([0.75]).double(), padding=2)[0, 0])
        for (r, c), parents in zip(((0, 0), (1, 2)), found, strict=True):
            if r < len(whole) and c < len(whole[0]):
                close(sum(a[r1, c1] * b[r2, c2] for r1, c1, r2, c2 in parents), whole[r][c])


def test_many_channels_and_their_bias(ask: Ask) -> None:
    a, b = draw(4, 3, 2), draw(2, 4, 3)
    (whole,) = ask(("channels.multiply", b.tolist(), a.tolist()))
    close(whole, convfold.merge(conv(a), conv(b)).weight)
    b1, kernels = draw(3), draw(1, 3, 3, 2)
    merged = convfold.merge(conv(draw(3, 2, 2, 2), b1), conv(kernels, torch.tensor([0.5]).double()))
    (bias,) = ask(("bias.merged", b1.tolist(), kernels[0].tolist(), 0.5))
    close([bias], merged.bias)


WINDOWS = [
    dict(taps=k, stride=s, dilation=d, up=u, lo=p)
    for k, s, d, u, p in ((1, 1, 1, 1, 0), (3, 2, 1, 1, 1), (2, 3, 2, 1, 0), (3, 1, 1, 2, 2), (4, 2, 1, 3, 1))
]


def test_windows(ask: Ask) -> None:
    chains = [
        (first, second, draw(first["taps"]), draw(second["taps"])) for first, second in product(WINDOWS, repeat=2)
    ]
    calls = (
        (
            ("window.isOne", first, second),
            ("window.joined", first, second),
            ("window.taps", a.tolist(), first, b.tolist(), second),
        )
        for first, second, a, b in chains
    )
    answers = ask(*(call for three in calls for call in three))
    joined = answers[1::3]
    reduced = ask(*(("window.reduced", k, whole) for whole, k in zip(joined, answers[2::3], strict=True)))
    left = set()
    for (first, second, a, b), fits, least in zip(chains, answers[::3], reduced, strict=True):
        ops = [
            Convolution(
                kernel.view(1, 1, -1), windows=(Window(w["taps"], w["stride"], w["up"], w["dilation"], w["lo"]),)
            )
            for kernel, w in ((a, first), (b, second))
        ]
        try:
            one = series.chain(ops, endless=True)
        except NotFoldable as e:
            left.add(e.code)
            assert not fits or e.code == "size-depends-on-remainder"  # one kernel, of a size that cannot be said
            continue
        assert fits
        (window,) = one.windows
        got = (window.taps, window.stride, window.upsample, window.dilation, window.lo)
        assert got == tuple(least["window"][name] for name in ("taps", "stride", "up", "dilation", "lo"))
        close(least["k"], one.kernel.flatten())
    assert left == {"stride-upsample", "size-depends-on-remainder"}


def test_one_output_of_a_window(ask: Ask) -> None:
    for w in WINDOWS:
        kernel, x = draw(w["taps"]), draw(30)
        reads = ask(*(("window.reads", w, n) for n in range(6)))
        got = [sum(kernel[r["tap"]] * x[r["at"]] for r in at if r["at"] >= 0) for at in reads]
        window = Window(w["taps"], w["stride"], w["up"], w["dilation"], w["lo"], 0)
        close(got, Convolution(kernel.view(1, 1, -1), windows=(window,))(x.view(1, 1, -1))[0, 0, :6])


@pytest.mark.parametrize("p1", range(3))
@pytest.mark.parametrize("p2", range(3))
def test_the_border(ask: Ask, p1: int, p2: int) -> None:
    for shape in ((3, 3), (2, 3)):
        a, b, x, b1, b2 = draw(3, 2), draw(*shape), draw(6, 7), draw(1), draw(1)
        pair = dict(a=a.tolist(), b1=b1.item(), p1=p1, b=b.tolist(), b2=b2.item(), p2=p2)
        true, naive, exact = ask(*((f"border.{name}", x.tolist(), pair) for name in ("inTurn", "naive", "exact")))
        layers = conv(a[None, None], b1, padding=p1), conv(b[None, None], b2, padding=p2)
        expected = layers[1](layers[0](x[None, None]))[0, 0]
        close(true, expected)
        close(exact, expected)
        close(exact, convfold.merge(*layers, check=False)(x[None, None])[0, 0])
        one = convfold.merge(*(conv(m.weight, m.bias) for m in layers), check=False)
        close(naive, F.conv2d(x[None, None], one.weight, one.bias, padding=p1 + p2)[0, 0])
        if p2:
            assert (torch.tensor(naive) - expected).abs().max() > 1e-3


def test_nothing_goes_wrong_where_the_ghosts_are_zeros(ask: Ask) -> None:
    a, b, x = draw(3, 3), draw(3, 3), draw(6, 7)
    pair = dict(a=a.tolist(), b1=0.0, p1=2, b=b.tolist(), b2=0.5, p2=1)
    true, naive = ask(("border.inTurn", x.tolist(), pair), ("border.naive", x.tolist(), pair))
    close(naive, true)


def test_branches(ask: Ask) -> None:
    norms = [
        dict(zip(("gamma", "beta", "mean", "variance", "eps"), (*draw(3).tolist(), v, 1e-5), strict=True))
        for v in (2.0, 0.5, 1)
    ]
    kernels = [draw(3, 3), draw(1, 1), torch.ones(1, 1, dtype=torch.float64)]
    centred = ask(*(("branches.centred", k.tolist(), 3) for k in kernels))
    folded = ask(*(("branches.folded", k, norm) for k, norm in zip(centred, norms, strict=True)))
    (whole,) = ask(("branches.sum", folded, 3))
    x = draw(1, 1, 7, 8)
    y = torch.zeros_like(x)
    for kernel, norm, part in zip(kernels, norms, folded, strict=True):
        bn = nn.BatchNorm2d(1, eps=norm["eps"]).double().eval()
        with torch.no_grad():
            for tensor, name in (
                (bn.weight, "gamma"),
                (bn.bias, "beta"),
                (bn.running_mean, "mean"),
                (bn.running_var, "variance"),
            ):
                assert tensor is not None
                tensor.fill_(norm[name])
        layer = conv(kernel[None, None], padding=kernel.shape[0] // 2)
        merged = convfold.merge(layer, bn)
        close([part["bias"]], merged.bias)
        y = y + bn(layer(x))
    weight, bias = (torch.tensor(v, dtype=torch.float64) for v in ([[whole["kernel"]]], [whole["bias"]]))
    close(F.conv2d(x, weight, bias, padding=1), y)


def test_what_a_bend_does(ask: Ask) -> None:
    x, a, b = draw(5), draw(3), draw(3)
    for slope in (0.0, 0.25, 1.0):
        h = F.leaky_relu(F.conv1d(x.view(1, 1, -1), a.view(1, 1, -1)) + 0.3, slope)
        (y,) = ask(("bend.bent", x.tolist(), a.tolist(), 0.3, slope, b.tolist()))
        close([y], F.conv1d(h, b.view(1, 1, -1)).flatten())
    assert ask(("bend.straight", 1, 3, -2)) == [-3]


def test_multiply_adds_are_the_librarys(ask: Ask) -> None:
    for (i, m, o), (k1, k2) in product(((3, 8, 4), (5, 2, 6)), ((3, 3), (1, 5))):
        apart, one = ask(("cost.compared", i, m, o, k1, k2, 12))[0]
        layers = nn.Conv2d(i, m, k1, padding=k1 // 2), nn.Conv2d(m, o, k2, padding=k2 // 2)
        merged = nn.Conv2d(i, o, k1 + k2 - 1, padding=(k1 + k2 - 2) // 2)
        x = (torch.randn(1, i, 12, 12),)
        assert convfold.explain(nn.Sequential(*layers), x).before.macs == apart
        assert convfold.explain(merged, x).before.macs == one
        (even,) = ask(("cost.breakEven", i, o, k1, k2))
        assert ask(("cost.compared", i, even, o, k1, k2, 12))[0] == pytest.approx([one, one])


PASTED = [
    "nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.Conv2d(16, 8, (3, 5)))",
    "[\n  nn.Conv2d(3, 16, 3, stride=2),  # halves\n  nn.Conv2d(16, 4, 3, 2, 0),\n]",
    "a = nn.Conv2d(4, 16, kernel_size=(3, 1), groups=2, bias=False)\n"
    "b = torch.nn.Conv2d(16, 4, 3, dilation=2, groups=4, bias=False)",
    "nn.Conv2d(4, 8, 3, dilation=(2, 1))\nnn.Conv2d(8, 2, 3, stride=(1, 2))",
    "nn.Conv1d(2, 9, 5, padding='same')\nnn.Dropout(0.5)\nnn.BatchNorm1d(9)\nnn.Conv1d(9, 2, 1)",
    "nn.Conv2d(2, 9, 3, padding=2, bias=False)\nnn.Conv2d(9, 2, 3, padding=1)",
    "nn.Conv2d(2, 9, 3, padding=1)\nnn.Conv2d(9, 2, 3, padding=1, bias=False)",
    "nn.Conv2d(2, 9, 1, bias=False)\nnn.Conv2d(9, 2, 3, padding=1)",
    "nn.BatchNorm2d(3)\nnn.Conv2d(3, 4, 3, padding=1)",
    "nn.Linear(5, 64)\nnn.BatchNorm1d(64)\nnn.Linear(64, 4, bias=False)",
    "nn.Conv2d(2, 9, 3, padding=1)\nnn.ReLU()\nnn.Conv2d(9, 9, 1)\nnn.BatchNorm2d(9)\nnn.GELU(approximate='tanh')",
    "nn.Conv2d(3, 2, 3)\nnn.Conv2d(2, 64, 3)",
    "nn.Sequential(nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 1, 3)), nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8))",
]


@pytest.mark.parametrize("text", PASTED, ids=lambda text: text.replace("\n", " ")[:50])
def test_the_code_for_pasted_layers_runs_and_gives_what_it_says(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    def drawn(norm: nn.BatchNorm2d) -> None:
        for statistics in (norm.running_mean, norm.running_var):
            assert statistics is not None
            statistics.uniform_(0.5, 2)

    monkeypatch.setattr(nn.modules.batchnorm._NormBase, "reset_running_stats", drawn)
    size = 16
    (answer,) = ask(("layers.answer", text, size))
    made: dict[str, Any] = {}
    torch.manual_seed(0)
    exec(answer["code"], made)
    lines = answer["code"].splitlines()
    for line, said in pairwise(lines):
        if said.startswith("# ") and line.startswith("merged"):
            merged = made[line.partition(" = ")[0]]
            printed = said.removeprefix("# ").removesuffix(", and the layers on strips of the border")
            assert repr(getattr(merged, "whole", merged)) == printed
            assert hasattr(merged, "steps") == ("strips" in said)
    given = [m for name, m in made.items() if name.startswith("layer")]
    shape = {nn.Linear: (), nn.Conv1d: (size,), nn.Conv2d: (size, size)}
    first = next(m for m in given if type(m) in shape)
    channels = getattr(first, "in_channels", getattr(first, "in_features", 0))
    x = torch.randn(2, channels, *shape[type(first)])
    given = [m.eval() for m in given]
    torch.testing.assert_close(made["model"].eval()(x), nn.Sequential(*given)(x), rtol=1e-4, atol=1e-5)
    assert convfold.explain(nn.Sequential(*given), (x[:1],)).before.macs == answer["before"]
    if "strips" not in answer["code"]:
        assert convfold.explain(made["model"], (x[:1],)).before.macs == answer["after"]
    assert answer["after"] <= answer["before"]


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "There are no layers yet."),
        ("nn.Conv2d(3, width, 3)", "Line 1: “width” is no number."),
        ("\nnn.Conv2d(3, 4, 3\n", "expected “,” or “)” in nn.Conv2d, found the end"),
        ("nn.Conv2d(3, 4, 3)\nnn.Conv2d(5, 4, 3)", "Line 2: nn.Conv2d(3, 4, 3) gives 4 channels, nn.Conv2d(5,"),
        ("nn.Conv2d(3, 4, 3, padding_mode='reflect')", "Line 1: padding_mode=\"reflect\" copies pixels"),
        ("nn.Conv2d(3, 4, 3, colour=1)", "no argument “colour”"),
        ("nn.Conv2d(3, 4)", "Conv2d needs kernel_size"),
        ("nn.Conv2d(3, 4, 0)", "kernel_size is a whole number from 1, or 2 of them, found 0"),
        ("nn.Conv2d(3, 4, 3, groups=2)", "3 → 4 channels cannot be split into 2 groups"),
        ("nn.Conv2d(3, 4, 2, padding='same')", "pads one side more"),
        ("nn.Conv2d(3, 4, 99)", "leaves nothing of 16 × 16 positions"),
        ("nn.Conv2d(3, 4, 3)\nnn.Linear(4, 2)", "different numbers of space axes"),
        ("x = y @ z", "Line 1: “@” is not read here"),
        ("relu", "“relu” is not a layer"),
        ("nn.Conv2d", "“nn.Conv2d” is not a layer. Write it with its arguments"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_said_in_one_line(ask: Ask, text: str, says: str) -> None:
    (answer,) = ask(("layers.answer", text, 16))
    assert says in answer["error"] and "\n" not in answer["error"]


def test_a_report_is_read(ask: Ask) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 9, 3), nn.Conv2d(9, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.Conv2d(2, 40, 3)
    ).eval()
    report = convfold.explain(model, (torch.randn(1, 3, 20, 20),))
    text = json.dumps(report.to_dict())
    (read,) = ask(("report.read", text))
    assert read == json.loads(text)
    stretches, refusals = ask(("report.bySaving", read), ("report.byReason", read))
    saved = [row["macs_before"] - row["macs_after"] for row in stretches]
    assert saved == sorted(saved, reverse=True) and len(saved) == len(report.applied) > 0
    assert [code for code, _ in refusals] == ["does-not-pay"]
    for wrong, says in (("nonsense", "not JSON"), ("{}", "no number before.macs"), ("[1, 2]", "a list of 2")):
        (answer,) = ask(("report.read", wrong))
        assert says in answer["error"] and "convfold explain MODEL --json" in answer["error"]


def test_words_and_numbers_are_the_librarys(ask: Ask) -> None:
    source = (PAGE / "src" / "report.ts").read_text(encoding="utf-8")
    table = source.partition("REASONS: { [code: string]: string } = {")[2].partition("};")[0]
    assert json.loads("{" + table.strip().removesuffix(",") + "}") == REASONS
    numbers = [0, 7, 131, 1000, 45195, 182452224, 7.35e9, 2.5e12]
    assert ask(*(("numbers.count", n) for n in numbers)) == [count(n) for n in numbers]
    assert ask(("numbers.text", -0.25), ("numbers.text", -0.001), ("numbers.text", 1.005)) == ["−0.25", "0", "1"]
    assert ask(("numbers.change", 4, 3), ("numbers.change", 0, 3)) == ["−25.0 %", ""]
