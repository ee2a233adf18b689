"""The normal form: every affine layer that looks alike at every position is a value of this type."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from convfold.algebra import doors, parallel, series
from convfold.algebra import window as axis
from convfold.algebra.geometry import Geometry, Sizes
from convfold.algebra.realisation import Convolve, Linear, Transpose, transposed_weight
from convfold.algebra.untraced import untraced
from convfold.algebra.window import Window
from convfold.errors import ConvfoldError, InvalidInput
from convfold.ops import Eager


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Convolution:
    """An affine map of signals ``(N, C, *space)`` with D = 0 … 3 space axes.

        y[n] = b + Σ_t K[t] · x↑u[s·n + d·t − lo]        (cross-correlation, as PyTorch's)

    D = 0 is a linear layer; a batch norm in eval mode is depthwise with one tap; an average pool is a
    depthwise constant; a pixel shuffle is a one-hot transposed convolution; an identity is a Dirac.

    Attributes:
        kernel: (c_out, c_in // groups, *taps); for a transposed convolution flipped, and in this same layout.
        bias: None, (c_out,), or (c_out, *period): after an upsampling it repeats with the upsampling's phase.
        groups: channel groups; never expanded by composing.
        windows: one :class:`Window` per space axis.

    A bare weight is one too, with ``F.conv2d``'s parameters instead of windows: ``Convolution(weight, bias, groups=4,
    stride=2, padding=1)``; each a number or one per axis, padding also "same" or "valid". :meth:`conv_transpose` takes
    those of ``F.conv_transpose2d``.

    ``b @ a`` is the value that computes ``b(a(x))``, ``a + b`` computes ``a(x) + b(x)``: exact at every input
    size, border included, or :class:`NotFoldable`. So do ``a - b``, ``-a``, ``sum([a, b])`` and ``a * s``, with ``s`` a
    number or one a channel. Of two types the wider is computed in. All are differentiable in kernel and bias.
    """

    kernel: Tensor
    bias: Tensor | None
    groups: int
    windows: tuple[Window, ...]
    geometry: Geometry = field(init=False)  # everything but the numbers

    def __init__(
        self,
        kernel: Tensor,
        bias: Tensor | None = None,
        groups: int = 1,
        windows: tuple[Window, ...] | None = None,
        *,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
    ) -> None:
        if windows is None:
            windows = axis.convolved(kernel.shape[2:], stride, padding, dilation)
        elif (stride, padding, dilation) != (1, 0, 1):
            raise InvalidInput("a Convolution takes windows, or stride, padding and dilation: not both")
        for name, value in (("kernel", kernel), ("bias", bias), ("groups", groups), ("windows", windows)):
            object.__setattr__(self, name, value)
        self._check()
        period = None if self.bias is None else tuple(self.bias.shape[1:]) or (1,) * self.dims
        object.__setattr__(self, "geometry", Geometry(self.c_out, self.c_in, groups, windows, period))

    def _check(self) -> None:
        if not isinstance(self.windows, tuple) or not all(isinstance(w, Window) for w in self.windows):
            raise InvalidInput(
                f"windows={self.windows!r}: expected a tuple of Windows; stride, padding and dilation go by keyword"
            )
        taps = tuple(w.taps for w in self.windows)
        if self.kernel.dim() < 2 or tuple(self.kernel.shape[2:]) != taps:
            raise ConvfoldError(
                f"kernel of shape {tuple(self.kernel.shape)} does not fit windows with taps {taps}: "
                "expected (c_out, c_in // groups, *taps)"
            )
        if self.groups < 1 or self.c_out % self.groups:
            raise ConvfoldError(f"{self.c_out} output channels cannot be split into {self.groups} groups")
        if self.bias is not None and (
            self.bias.shape[0] != self.c_out or self.bias.dim() not in (1, 1 + len(self.windows))
        ):
            raise ConvfoldError(
                f"bias of shape {tuple(self.bias.shape)} does not fit {self.c_out} channels: "
                "expected (c_out,) or (c_out, *period)"
            )
        if self.bias is not None and self.bias.dim() > 1 and self.bias.numel() == self.c_out:
            object.__setattr__(self, "bias", self.bias.flatten())  # one shape for a constant bias

    @classmethod
    @untraced
    def of(cls, module: object, channels: int | None = None, dims: int | None = None) -> Convolution:
        """The value of any affine module: a ``torch.nn`` layer, a ``Sequential``, or a block with a forward of its own.

        What the module computes is read, not what it is called: hooks, parametrisations and a ``forward`` that was
        overridden count. A block that is no layer of ``torch.nn`` is exported with every size free, folded, and tried.
        Differentiable in the module's weights.

        Args:
            module: an ``nn.Module`` of one input and one output; float64 where it has no weights to take a type from.
            channels: of its input; for modules that do not say: pools, pads, shuffles, identity, some blocks.
            dims: its space axes, likewise.

        Raises:
            NotFoldable: with the reason, if the module is not one convolution at every input size.
            InvalidInput: its weights have no shape yet (``nn.LazyConv2d`` and its kin).
        """
        return doors.of(module, channels, dims)  # type: ignore[no-any-return]

    @classmethod
    def identity(cls, channels: int, dims: int = 0, like: Tensor | None = None) -> Convolution:
        """The Dirac: depthwise, one tap, one."""
        options: dict[str, Any] = {} if like is None else {"dtype": like.dtype, "device": like.device}
        return cls(torch.ones(channels, 1, *(1,) * dims, **options), None, channels, (Window(),) * dims)

    @classmethod
    def conv_transpose(
        cls,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Convolution:
        """The value of ``F.conv_transposeNd`` with these parameters, in PyTorch's order; ``weight`` as PyTorch has it.

        weight: (c_in, c_out // groups, *taps). Kernel: flipped; u = stride, lo = d(T−1) − p, hi = lo + output_padding.
        """
        dims = weight.dim() - 2
        numbers = (axis.per_axis(n, dims) for n in (stride, dilation, padding, output_padding))
        windows = tuple(axis.transposed(t, *n) for t, *n in zip(weight.shape[2:], *numbers, strict=True))
        return cls(transposed_weight(weight, groups), bias, groups, windows)

    @property
    def value(self) -> Convolution:
        """Itself: an operator whose numbers are known."""
        return self

    @property
    def own_call(self) -> None:
        return None

    def forget(self) -> None:
        """A value keeps its numbers."""

    @property
    def c_out(self) -> int:
        return self.kernel.shape[0]

    @property
    def c_in(self) -> int:
        return self.kernel.shape[1] * self.groups

    @property
    def dims(self) -> int:
        return len(self.windows)

    def __matmul__(self, inner: Convolution) -> Convolution:
        if not isinstance(inner, Convolution):
            return NotImplemented
        return series.series(self, inner)

    def __add__(self, other: Convolution | int) -> Convolution:
        if isinstance(other, int) and other == 0:  # where `sum` starts
            return self
        if not isinstance(other, Convolution):
            return NotImplemented
        return parallel.parallel(self, other)

    __radd__ = __add__

    def __sub__(self, other: Convolution) -> Convolution:
        if not isinstance(other, Convolution):
            return NotImplemented
        return self + -other

    def __mul__(self, scale: float | Tensor) -> Convolution:
        """Every output times a number, or each channel times its own: ``scale`` a scalar or (c_out,)."""
        if not isinstance(scale, int | float | Tensor):
            return NotImplemented
        k = s = torch.as_tensor(scale, dtype=self.kernel.dtype, device=self.kernel.device)
        if s.numel() not in (1, self.c_out) or s.numel() not in (1, *s.shape):
            raise InvalidInput(
                f"a scale of shape {tuple(s.shape)}: expected one number, or one for each of {self.c_out}"
            )
        s = s.reshape(() if s.numel() == 1 else (-1,))
        k, b = s, self.bias
        if s.dim():
            k = s.reshape(-1, *(1,) * (self.kernel.dim() - 1))
            s = s if b is None else s.reshape(-1, *(1,) * (b.dim() - 1))
        return Convolution(self.kernel * k, None if b is None else b * s, self.groups, self.windows)

    __rmul__ = __mul__

    def __neg__(self) -> Convolution:
        return self * -1.0

    def after(self, inner: Convolution, sizes: Sizes = None, endless: bool = False) -> Convolution:
        """``self @ inner`` at known input sizes (per space axis, None where free): more folds exactly.

        ``endless``: the signal between the two is taken to have no end; exact but for the border.
        """
        return series.series(self, inner, sizes, endless)

    def plus(self, other: Convolution, sizes: Sizes = None, alike: bool = False) -> Convolution:
        """``self + other`` at known input sizes; ``alike``: where both give as much, whatever the size."""
        return parallel.parallel(self, other, sizes, alike)

    def stack(self, other: Convolution, sizes: Sizes = None, alike: bool = False) -> Convolution:
        """The value that computes ``concat([self(x), other(x)], channels)``; as `plus`."""
        return parallel.stack(self, other, sizes, alike)

    def block(self, rows: range, cols: range) -> Convolution | None:
        """The block of output channels ``rows`` and input channels ``cols``; None where it is all zero."""
        return parallel.block(self, rows, cols)

    def rows(self, start: int, stop: int) -> Convolution:
        """Only output channels start … stop−1; all input channels are still read, so groups are given up."""
        value = self if self.groups == 1 else self.ungrouped()
        bias = None if value.bias is None else value.bias[start:stop]
        return Convolution(value.kernel[start:stop], bias, 1, self.windows)

    def ungrouped(self) -> Convolution:
        """The same map written with one group."""
        return Convolution(series.widened(self.kernel, self.groups, 1), self.bias, 1, self.windows)

    def lifted(self, dims: int) -> Convolution:
        """A pointwise value seen with another number of space axes."""
        if dims == self.dims:
            return self
        g = self.geometry.lifted(dims)
        kernel = self.kernel.reshape(*self.kernel.shape[:2], *(1,) * dims)
        bias = None if self.bias is None else self.bias.reshape(-1)
        return Convolution(kernel, bias, self.groups, g.windows)

    def to(
        self,
        *where: torch.dtype | torch.device | str | int | Tensor | None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | int | None = None,
    ) -> Convolution:
        """The same map in another type or on another device; itself if it is there already.

        ``to("cpu")``, ``to(torch.float64)``, both in either order or by name, or ``to(tensor)``: its type and device.
        """
        for place in where:
            if isinstance(place, Tensor):
                dtype, device = place.dtype, place.device
            elif isinstance(place, torch.dtype):
                dtype = place
            elif place is not None:
                device = torch.device(place)
        if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
            raise InvalidInput(f"a Convolution in {dtype}: its numbers are real; give a floating-point type")
        kernel = self.kernel.to(device=device, dtype=dtype)
        bias = None if self.bias is None else self.bias.to(device=device, dtype=dtype)
        if kernel is self.kernel and bias is self.bias:
            return self
        return Convolution(kernel, bias, self.groups, self.windows)

    def periodic_bias(self) -> Tensor:
        """The bias as (c_out, *period), zeros if there is none."""
        if self.bias is None:
            return self.kernel.new_zeros(self.c_out, *(1,) * self.dims)
        return self.bias if self.bias.dim() > 1 or not self.dims else self.bias.reshape(-1, *(1,) * self.dims)

    def to_module(self, attached: bool = False) -> torch.nn.Module:
        """One module that computes this value: a ``torch.nn`` layer where there is one.

        Parameters are copies. ``attached`` keeps the tensors and their history instead: gradients reach what
        they were computed from, and the tensors are attributes, not parameters.
        """
        return doors.to_module(self, attached)  # type: ignore[no-any-return]

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to (N, c_in, *space) → (N, c_out, *size(space)), in the input's floating-point type."""
        if x.dim() != self.dims + 2 or x.shape[1] != self.c_in:
            raise ConvfoldError(
                f"input of shape {tuple(x.shape)} given to {self!r}: expected (N, {self.c_in}, "
                f"{', '.join('space' for _ in self.windows)})"
            )
        if self.kernel.dtype != x.dtype and x.is_floating_point():
            return self.to(x.dtype)(x)
        out = self.geometry.size(x.shape[2:])
        if 0 in out:
            return x.new_zeros(x.shape[0], self.c_out, *out)
        how = Transpose() if self.geometry.upsamples else Convolve() if self.dims else Linear()
        ops = Eager(self.kernel)
        return how.lower(ops, self, 1, x, x.dim(), ops.weights())

    def __repr__(self) -> str:
        axes = ", ".join(
            f"{w.taps}"
            + "".join(f" {name}{v}" for name, v in (("s", w.stride), ("u", w.upsample), ("d", w.dilation)) if v != 1)
            + (f" pad({w.lo},{w.hi})" if w.lo or w.hi else "")
            for w in self.windows
        )
        groups = f", groups={self.groups}" if self.groups > 1 else ""
        bias = ", bias" if self.bias is not None else ""
        return f"Convolution({self.c_in}→{self.c_out}, taps=[{axes}]{groups}{bias})"
