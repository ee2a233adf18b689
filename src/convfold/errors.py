"""What can go wrong, each with one line a user can act on."""

from __future__ import annotations


class ConvfoldError(Exception):
    """Base of every error convfold raises on purpose; one line: what, where, what was found, what to do."""


class InvalidInput(ConvfoldError):
    """A model, file, shape or option that cannot be used as given."""


class VerificationFailed(ConvfoldError):
    """The folded model differs from the original by more than its own rounding error; nothing is written."""


class NotFoldable(ConvfoldError):
    """No exact fold exists, or it is refused: ``code`` says why, ``detail`` in words, ``where`` for which op.

    Codes are stable and listed in :data:`REASONS`.
    """

    def __init__(self, code: str, detail: str = "", where: str = "") -> None:
        if code not in REASONS:
            raise ValueError(f"unknown reason code {code!r}")
        self.code, self.detail, self.where = code, detail, where
        super().__init__(f"{where + ': ' if where else ''}{code}: {detail or REASONS[code]}")


class BorderChanged(UserWarning):
    """A fold was asked to move all padding to the front, and the outermost outputs are not what they were.

    ``rows`` are how many at the low and the high end of each axis, ``difference`` ‖y′ − y‖ / ‖y‖ on them.
    """

    def __init__(self, rows: tuple[tuple[int, int], ...], difference: float) -> None:
        self.rows, self.difference = rows, difference
        ends = " and ".join(f"{lo} + {hi}" for lo, hi in rows)
        super().__init__(
            f"border='hoist' moved all padding to the first layer: the outermost {ends} outputs of each axis differ "
            f"from the original's by {difference:.2g}, relative to their size, on a normal random input"
        )


#: Every reason for leaving something unfolded.
REASONS: dict[str, str] = {
    "channels-differ": "the first's output channels are not the second's input channels",
    "crosses-module": "the layers lie in different modules, which are kept apart",
    "dimensions-differ": "the operands have different numbers of space axes",
    "does-not-pay": "the folded form would cost more than the original",
    "excluded": "left alone because the configuration excludes it",
    "ghost-depends-on-data": "the second reads, as zeros, positions where the first alone would have data",
    "ghost-is-constant": "the second reads, as zeros, positions where the first alone would have its bias",
    "layout-mixes-channels": "a view or permute between the two does not keep the channel axis whole",
    "no-module": "no single torch.nn module computes this",
    "not-affine": "the layer is not affine",
    "not-exported": "torch.export cannot follow the module, called as it is",
    "not-verified": "the module's folded form differs by more than its own rounding error, or cannot be compared",
    "padding-mode": "padding that copies data is not a convolution",
    "partition-differs": "channel groups do not line up with the parts of the concat or split",
    "quantised": "the weight is stored in eight bits; composed with others it would be stored wide",
    "sizes-differ": "the branches have different output sizes",
    "size-depends-on-remainder": "the output size depends on a remainder, unknown while the size is free",
    "slower-here": "the model was timed with it folded and without, in the target's runtime, and is faster without",
    "stride-upsample": "upsampling after a stride with a common factor cannot be one convolution",
    "too-large": "the folded kernel would exceed the memory limit",
    "training-mode": "batch statistics change with the batch",
    "window-not-uniform": "the pool divides by a different number of values at the border",
}

#: What it would take to have it folded all the same.
REMEDIES: dict[str, str] = {
    "channels-differ": "Nothing: the two do not follow each other. Look for a layer that is missing between them.",
    "crosses-module": "Take `fold`, which keeps no modules; or `fold_` with fewer `boundaries` or a smaller `depth`.",
    "dimensions-differ": "Give both the same number of space axes; pointwise layers are lifted to any by themselves.",
    "does-not-pay": (
        'Other prices: a `target` for the runtime you deploy to, or `objective="macs"`. `merge` does not ask what '
        "pays. With `explain(…, trace=…)` you see what the stretch costs in every form."
    ),
    "excluded": "Take the glob out of `exclude`.",
    "ghost-depends-on-data": (
        '`border="exact"`, the default, computes the border apart. Where even that left it: let the first layer '
        "do all of the padding, which is another function at the border and has to be trained or fine-tuned."
    ),
    "ghost-is-constant": (
        '`border="exact"`, the default, adds the constant at the border. Or a first layer without a bias.'
    ),
    "layout-mixes-channels": (
        "Keep the channel axis whole in the view or permute between the two, or move the view behind both layers."
    ),
    "no-module": (
        "Take `fold`, which writes calls and not modules, or `Convolution.of(…)`, a value that can be called."
    ),
    "not-affine": (
        "A layer that is affine: what an operator is, and whether it is read, is in the table of operators. An "
        "activation between two layers is a real end of the stretch."
    ),
    "not-exported": "Make the module exportable: the message names the line and what to write instead.",
    "not-verified": (
        "Inputs on which the module gives finite numbers. Where the difference is no rounding it is a bug in "
        "convfold: please report it with the module; everything else is folded."
    ),
    "padding-mode": (
        "Zero padding; or circular padding in every layer of the chain; or one pad in front of it and none after."
    ),
    "partition-differs": "Groups that line up with the parts of the concat or split.",
    "quantised": "Fold first, then quantise.",
    "size-depends-on-remainder": (
        'Fix the size (`dynamic_shapes="static"`, or an input of that size), or make it a multiple of the stride.'
    ),
    "sizes-differ": "Branches of one output size.",
    "slower-here": "Nothing, in this runtime on this machine. `guard=False` (`--no-guard`) does not time.",
    "stride-upsample": "A stride and an upsampling without a common factor, or the upsampling first.",
    "too-large": "Smaller kernels, or fewer channels in groups: composed, this one would not fit.",
    "training-mode": "`model.eval()`; in training, `norm.eval()` for the norms that are to be composed.",
    "window-not-uniform": "`count_include_pad=True`, or no padding in the pool.",
}

#: Of these, what reading beyond the ends of a signal is called.
GHOSTS = ("ghost-is-constant", "ghost-depends-on-data")

#: What can be done about it: mend the border, leave the layers apart, or move all padding to the first.
BORDERS = ("exact", "refuse", "hoist")


def check_border(border: str) -> None:
    """Raise unless it is one of these."""
    if border not in BORDERS:
        raise InvalidInput(f"unknown border {border!r}; known: {', '.join(map(repr, BORDERS))}")
