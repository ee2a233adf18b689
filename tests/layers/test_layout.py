"""Views and permutes between layers: an operator moves through one that keeps its channel axis whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convfold.algebra.layout import Layout
from tests.folding import STATIC, Net, fold_checked
from tests.layers.table import Case, check


def test_tokens_and_maps() -> None:
    """What is spelled as a linear layer here is a 1×1 convolution there."""

    def case(name: str, function: Any, shape: tuple[int, ...], left: int | None = 1, **members: nn.Module) -> Case:
        return Case(name, Net(function, **members), shape, layers=left)

    conv, fc = nn.Conv2d(3, 16, 2, stride=2), nn.Linear(16, 2)
    wide, back = nn.Linear(2, 16), nn.Conv2d(16, 3, 1)
    check(
        [
            case(
                "patches to tokens",
                lambda m, x: m.fc(m.conv(x).flatten(2).transpose(1, 2)),
                (3, 6, 8),
                conv=conv,
                fc=fc,
            ),
            case(
                "patches to tokens, permuted",
                lambda m, x: m.fc(m.conv(x).permute(0, 2, 3, 1)),
                (3, 6, 8),
                conv=conv,
                fc=fc,
            ),
            case(
                "tokens to maps",
                lambda m, x: m.conv(m.fc(x).transpose(1, 2).view(-1, 16, 3, 4)),
                (12, 2),
                fc=wide,
                conv=back,
            ),
            case(
                "tokens to maps, unflattened",
                lambda m, x: m.conv(m.fc(x).transpose(1, 2).unflatten(2, (3, 4))),
                (12, 2),
                fc=wide,
                conv=back,
            ),
            case(
                "maps to tokens to maps",
                lambda m, x: m.b(m.fc(m.a(x).flatten(2).mT).mT.reshape(-1, 16, 3, 4)),
                (3, 6, 8),
                a=conv,
                fc=nn.Linear(16, 16),
                b=back,
            ),
            case(
                "LeViT",
                lambda m, x: (y := m.fc(x), m.norm(y.flatten(0, 1)).reshape_as(y))[1],
                (5, 16),
                fc=fc,
                norm=nn.BatchNorm1d(2),
            ),
            case(
                "norm of channels last",
                lambda m, x: m.norm(m.fc(x).transpose(1, 2)).transpose(1, 2),
                (5, 16),
                fc=fc,
                norm=nn.BatchNorm1d(2),
            ),
            case(
                "norm of maps as tokens",
                lambda m, x: m.norm(m.conv(x).flatten(2)),
                (3, 6, 8),
                conv=conv,
                norm=nn.BatchNorm1d(16),
            ),
            case("unsqueezed", lambda m, x: m.norm(m.fc(x)[:, :, None, None]), (16,), fc=fc, norm=nn.BatchNorm2d(2)),
            case("squeezed", lambda m, x: m.fc(m.conv(x).squeeze(3).squeeze(2)), (3, 2, 2), conv=conv, fc=fc),
            case("flattened from one position", lambda m, x: m.fc(m.conv(x).flatten(1)), (3, 2, 2), conv=conv, fc=fc),
            case("batch and length joined", lambda m, x: m.b(m.a(x).reshape(-1, 16)), (5, 3), a=nn.Linear(3, 16), b=fc),
            case(
                "frames into the batch",
                lambda m, x: m.norm(m.conv(x.flatten(0, 1))).unflatten(0, (-1, 2)),
                (2, 3, 6, 8),
                conv=conv,
                norm=nn.BatchNorm2d(16),
            ),
            case("moved", lambda m, x: m.fc(m.conv(x).movedim(1, -1)), (3, 6, 8), conv=conv, fc=fc),
            case(
                "swapped and back",
                lambda m, x: m.norm(m.conv(x).swapaxes(1, 3).swapaxes(1, 3)),
                (3, 6, 8),
                conv=conv,
                norm=nn.BatchNorm2d(16),
            ),
            case(
                "contiguous between",
                lambda m, x: m.fc(m.conv(x).permute(0, 2, 3, 1).contiguous().view(-1, 12, 16)),
                (3, 6, 8),
                conv=conv,
                fc=fc,
            ),
            case(
                "einops",
                lambda m, x: (
                    m.fc(m.conv(x).permute(0, 2, 3, 1).reshape(-1, 16)).reshape(-1, 3, 4, 2).permute(0, 3, 1, 2)
                ),
                (3, 6, 8),
                conv=conv,
                fc=fc,
            ),
        ]
    )


def test_views_that_mix_channels_keep_the_two_apart() -> None:
    code = "layout-mixes-channels"
    a, b = nn.Conv2d(3, 8, 1), nn.Linear(96, 2)
    check(
        [
            Case(
                "channels and positions joined",
                Net(lambda m, x: m.b(m.a(x).flatten(1)), a=a, b=b),
                (3, 3, 4),
                code=code,
            ),
            Case(
                "channels split",
                Net(lambda m, x: m.b(m.a(x).view(-1, 2, 4, 3, 4).flatten(1, 2)), a=a, b=nn.Conv2d(8, 2, 1)),
                (3, 3, 4),
            ),
            Case(
                "channels split and mixed",
                Net(
                    lambda m, x: m.b(m.a(x).view(-1, 2, 4, 12).transpose(1, 2).reshape(-1, 8, 12)),
                    a=a,
                    b=nn.Conv1d(8, 2, 1),
                ),
                (3, 3, 4),
                code=code,
            ),
            Case(
                "positions as channels",
                Net(lambda m, x: m.b(m.a(x).transpose(1, 2)), a=a, b=nn.Conv2d(3, 2, 1)),
                (3, 3, 4),
            ),
            Case("heads", Net(heads, a=nn.Linear(6, 6), b=nn.Linear(6, 6)), (5, 6)),
            Case(
                "an axis as long as the channels",
                Net(lambda m, x: m.b(m.a(x).transpose(1, 2)), a=nn.Linear(4, 4), b=nn.Linear(4, 2)),
                (4, 4),
            ),
            Case(
                "as long, through a view",
                Net(
                    lambda m, x: m.b(m.a(x).view(-1, 4, 2, 2, 4).transpose(2, 3).reshape(-1, 4, 4, 4)),
                    a=nn.Linear(4, 4),
                    b=nn.Linear(4, 2),
                ),
                (4, 4, 4),
                layers=1,
            ),
            Case(
                "reinterpreted",
                Net(lambda m, x: m.b(m.a(x).reshape(-1, 4, 3, 8)), a=nn.Conv2d(3, 8, 1), b=nn.Conv2d(4, 2, 1)),
                (3, 3, 4),
            ),
        ]
    )


def heads(m: Any, x: Tensor) -> Tensor:
    y = m.a(x).unflatten(-1, (2, 3)).transpose(1, 2)
    y = torch.softmax(y, -1).transpose(1, 2).flatten(2)
    return m.b(y)  # type: ignore[no-any-return]


def test_taps_do_not_pass_a_view() -> None:
    """A 3×3 reads neighbours, which a view moves."""
    check(
        [
            Case(
                "rows and columns swapped",
                Net(lambda m, x: m.b(m.a(x).transpose(2, 3)), a=nn.Conv2d(3, 8, 1), b=nn.Conv2d(8, 2, (3, 2))),
                (3, 5, 6),
            ),
            Case(
                "unfolded to a line",
                Net(lambda m, x: m.b(m.a(x).flatten(2)), a=nn.Conv2d(3, 8, 1), b=nn.Conv1d(8, 2, 3)),
                (3, 5, 6),
            ),
            Case(
                "taps first",
                Net(lambda m, x: m.b(m.a(x).flatten(2)), a=nn.Conv2d(3, 8, (3, 2)), b=nn.Conv1d(8, 2, 1)),
                (3, 5, 6),
                layers=1,
            ),
            Case(
                "a sum across a view",
                Net(lambda m, x: m.a(x).flatten(2) + m.b(x.flatten(2)), a=nn.Conv2d(3, 4, 1), b=nn.Conv1d(3, 4, 1)),
                (3, 5, 6),
            ),
            Case(
                "a concat across a view",
                Net(
                    lambda m, x: m.c(torch.cat([m.a(x).flatten(2), m.b(x.flatten(2))], 1)),
                    a=nn.Conv2d(3, 4, 1),
                    b=nn.Conv1d(3, 4, 1),
                    c=nn.Conv1d(8, 2, 1),
                ),
                (3, 5, 6),
            ),
            Case(
                "a skip around a permute",
                Net(lambda m, x: x + m.a(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), a=nn.Linear(3, 3)),
                (3, 5, 6),
            ),
            Case(
                "ConvNeXt",
                Net(
                    lambda m, x: x + (m.c * m.b(m.a(m.d(x).permute(0, 2, 3, 1)).relu())).permute(0, 3, 1, 2),
                    d=nn.Conv2d(4, 4, 3, padding=1, groups=4),
                    a=nn.Linear(4, 8),
                    b=nn.Linear(8, 4),
                    c=nn.Parameter(torch.randn(4)),
                ),
                (4, 5, 6),
            ),
        ]
    )


def test_a_number_passes_every_view() -> None:
    """Attention divides its queries by √d behind the view that splits them into heads."""

    def case(name: str, function: Any, **members: nn.Module) -> Case:
        return Case(name, Net(function, **members), (5, 6), layers=len(members))

    a, b = nn.Linear(6, 6), nn.Linear(3, 2)
    check(
        [
            case("queries", lambda m, x: (m.a(x).unflatten(-1, (2, 3)).transpose(1, 2) / 3**0.5).relu(), a=a),
            case("and shifted", lambda m, x: m.a(x).unflatten(-1, (2, 3)) * 2 - 1, a=a),
            case("a sum of two", lambda m, x: (m.a(x) + m.b(x.relu())).view(-1, 3) * 2 + 1, a=a, b=nn.Linear(6, 6)),
            case("several", lambda m, x: -(m.a(x).view(-1, 5, 2, 3).flatten(1, 2) * 2).transpose(1, 2) + 1, a=a),
            # Only a leaf could have the view before it: it stays where it is.
            Case("before the view", Net(lambda m, x: m.b((x * 3 + 1).unflatten(-1, (2, 3))), b=b), (5, 6)),
        ]
    )


def test_a_pointwise_layer_enters_a_concat_of_positions() -> None:
    """Maps of several sizes as one sequence of tokens, as detectors feed their decoders."""

    def tokens(m: Any, x: Tensor) -> Tensor:
        levels = [m.p(x), m.q(x[:, :, ::2, ::2])]
        return m.fc(torch.cat([y.flatten(2).transpose(1, 2) for y in levels], 1))  # type: ignore[no-any-return]

    norm = nn.BatchNorm2d(3)
    check(
        [
            Case(
                "levels of a detector",
                Net(tokens, p=nn.Conv2d(2, 16, 1), q=nn.Conv2d(2, 16, 2), fc=nn.Linear(16, 3)),
                (2, 4, 6),
                layers=2,
            ),
            Case(
                "a norm behind rows",
                Net(
                    lambda m, x: m.n(torch.cat([m.a(x), m.b(x)], 2)),
                    a=nn.Conv2d(2, 3, 1),
                    b=nn.Conv2d(2, 3, (2, 1)),
                    n=norm,
                ),
                (2, 4, 3),
                code=None,
            ),
        ]
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_of_axes_one_long_the_one_that_is_named(axis: int) -> None:
    """Shapes alone do not tell which of them is put in or taken out."""
    cases = [
        (lambda m, x: m.b(m.a(x).squeeze(axis)), nn.Conv2d(1, 1, 1), nn.Conv1d(1, 3, 1), (1, 1, 1)),
        (lambda m, x: m.b(m.a(x).unsqueeze(axis)), nn.Conv1d(1, 1, 1), nn.Conv2d(1, 3, 1), (1, 1)),
    ]
    for function, a, b, shape in cases:
        fold_checked(Net(function, a=a, b=b), shape, dynamic_shapes=STATIC)


def test_no_two_axes_become_one() -> None:
    view = Layout.view((1, 1, 4), (1, 4), (1, 4))
    assert [view.forward(i) for i in range(3)] == [0, None, 1]
    assert [view.traced(j) for j in range(2)] == [0, 2]
