"""ConvLSTM and ConvGRU over one, two or three spatial dimensions: layers over sequences of images, and single steps.

PyTorch has none. Names of weights and the shapes of results are those of its LSTM and GRU; arguments that images need
are called as in Conv2d. A layer is one op for each direction (`minidl/ops/conv_rnn`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from minidl.core import Tensor
from minidl.device import Device
from minidl.device.dtypes import DType, promote
from minidl.errors import ArgumentError, ShapeError
from minidl.nn import functional as F
from minidl.nn import init
from minidl.nn.linear import blank
from minidl.nn.module import Module
from minidl.nn.rnn_cells import check_layers
from minidl.ops import cat, conv_gru_sequence, conv_lstm_sequence, stack
from minidl.ops.conv_rnn.peephole import peephole_sequence
from minidl.ops.windows import sizes

__all__ = [
    "ConvGRU1d",
    "ConvGRU2d",
    "ConvGRU3d",
    "ConvGRUCell1d",
    "ConvGRUCell2d",
    "ConvGRUCell3d",
    "ConvLSTM1d",
    "ConvLSTM2d",
    "ConvLSTM3d",
    "ConvLSTMCell1d",
    "ConvLSTMCell2d",
    "ConvLSTMCell3d",
]


class _ConvRecurrent(Module):
    """What layers and cells share: weights and their starting values, states, and one layer in one direction."""

    dims: ClassVar[int]
    _gates: ClassVar[int]
    _states: ClassVar[tuple[str, ...]]
    peephole: bool = False

    def _set_up(self, in_channels: int, hidden_channels: int, kernel_size: Any, bias: bool) -> None:
        name = type(self).__name__
        if in_channels < 1 or hidden_channels < 1:
            raise ArgumentError(
                f"{name}: in_channels and hidden_channels must be at least 1, got {in_channels} and {hidden_channels}"
            )
        self.in_channels, self.hidden_channels, self.bias = in_channels, hidden_channels, bias
        self.kernel_size = sizes(name, "kernel_size", kernel_size, self.dims, least=1)
        if any(k % 2 == 0 for k in self.kernel_size):
            raise ArgumentError(
                f"{name}: kernel_size must be odd, so that states keep the size of the image, got {self.kernel_size}"
            )

    def _make_weights(self, suffix: str, width: int, device: Device | str | None, dtype: DType | None) -> None:
        rows, kernel = self._gates * self.hidden_channels, self.kernel_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, width, *kernel),
            "weight_hh": (rows, self.hidden_channels, *kernel),
        }
        shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if self.bias else {}
        shapes |= {"weight_ch": (3, self.hidden_channels)} if self.peephole else {}
        for weight, shape in shapes.items():
            setattr(self, weight + suffix, blank(*shape, device=device, dtype=dtype))

    def reset_parameters(self) -> None:
        """Draw the starting values again: all uniform within 1 / sqrt(hidden_channels * kernel elements)."""
        bound = 1 / math.sqrt(self.hidden_channels * math.prod(self.kernel_size))
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _weights(self, suffix: str) -> list[Any]:
        """weight_ih, weight_hh and, or None, bias_ih and bias_hh."""
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return [getattr(self, kind + suffix) if self.bias or "weight" in kind else None for kind in kinds]

    def _sweep(
        self, x: Tensor, states: Sequence[Tensor], suffix: str, lengths: Any, reverse: bool
    ) -> tuple[Tensor, ...]:
        """One layer in one direction: all its states (T, N, K, *image), and what it ends with."""
        weights = self._weights(suffix)
        if self.peephole:
            peepholes = getattr(self, "weight_ch" + suffix)
            return peephole_sequence(x, *states, *weights, weight_ch=peepholes, lengths=lengths, reverse=reverse)
        sequence: Any = conv_lstm_sequence if len(self._states) == 2 else conv_gru_sequence
        return sequence(x, *states, *weights, lengths, reverse=reverse)  # type: ignore[no-any-return]

    def _zeros(self, x: Tensor, batch: int) -> list[Tensor]:
        """States before the first step: zeros (N, K, *image)."""
        shape = (batch, self.hidden_channels, *x.shape[-self.dims :])
        dtype = promote(x.dtype, next(self.parameters()).dtype)
        return [Tensor.of(x.device.xp.zeros(shape, dtype)) for _ in self._states]

    def _split(self, hx: Any) -> list[Tensor]:
        """The given states, none or as many as there must be."""
        if hx is None:
            return []
        if len(self._states) == 1:
            return [hx]
        if not (isinstance(hx, (tuple, list)) and len(hx) == 2):
            raise ArgumentError(f"{type(self).__name__}: hx must be the pair (h, c), got {type(hx).__name__}")
        return list(hx)

    def _image(self) -> str:
        return ("L", "H, W", "D, H, W")[self.dims - 1]

    def extra_repr(self) -> str:
        defaults = {
            "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False,
            "peephole": False,
        }  # fmt: skip
        own = vars(self)
        changed = [f"{name}={own[name]}" for name, usual in defaults.items() if own.get(name, usual) != usual]
        start = f"{self.in_channels}, {self.hidden_channels}, kernel_size={self.kernel_size}"
        return ", ".join([start, *changed])


class _Layer(_ConvRecurrent):
    """Layers and directions over whole sequences of images."""

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: int | Sequence[int] = 3,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Device | str | None = None,
        dtype: DType | None = None,
    ) -> None:
        self._set_up(in_channels, hidden_channels, kernel_size, bias)
        check_layers(self, num_layers, dropout)
        self.num_layers, self.batch_first = num_layers, batch_first
        self.dropout, self.bidirectional = dropout, bidirectional
        for layer in range(num_layers):
            for direction in self._directions():
                width = hidden_channels * len(self._directions()) if layer else in_channels
                self._make_weights(f"_l{layer}{direction}", width, device, dtype)
        self.reset_parameters()

    def forward(self, input: Tensor, hx: Any = None, lengths: Tensor | Sequence[int] | None = None) -> Any:
        name = type(self).__name__
        if input.ndim != self.dims + 3 or input.shape[2] != self.in_channels:
            order = "batch, steps" if self.batch_first else "steps, batch"
            raise ShapeError(f"{name}: input must be ({order}, {self.in_channels}, {self._image()}), got {input.shape}")
        x = input.transpose(0, 1) if self.batch_first else input
        states = self._split(hx)
        places = self.num_layers * len(self._directions())
        zeros = [] if states else self._zeros(x, x.shape[1])
        wanted = (places, x.shape[1], self.hidden_channels, *x.shape[3:])
        for kind, state in zip(self._states, states, strict=False):
            if state.shape != wanted:
                raise ShapeError(
                    f"{name}: {kind}_0 must be (num_layers * directions, batch, hidden_channels, {self._image()}) = "
                    f"{wanted}, got {state.shape}"
                )
        last: list[Sequence[Tensor]] = []
        for layer in range(self.num_layers):
            outputs = []
            for number, direction in enumerate(self._directions()):
                starts = [s[len(last)] for s in states] or zeros
                output, *ends = self._sweep(x, starts, f"_l{layer}{direction}", lengths, reverse=number == 1)
                outputs.append(output)
                last.append(ends)
            x = outputs[0] if len(outputs) == 1 else cat(outputs, dim=2)
            x = F.dropout(x, self.dropout, self.training and layer + 1 < self.num_layers)
        ends = [stack(of_kind) for of_kind in zip(*last, strict=True)]
        return x.transpose(0, 1) if self.batch_first else x, ends[0] if len(ends) == 1 else tuple(ends)

    def _directions(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)


class _Cell(_ConvRecurrent):
    """A single step on images."""

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: int | Sequence[int] = 3,
        bias: bool = True,
        device: Device | str | None = None,
        dtype: DType | None = None,
    ) -> None:
        self._set_up(in_channels, hidden_channels, kernel_size, bias)
        self._make_weights("", in_channels, device, dtype)
        self.reset_parameters()

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        name = type(self).__name__
        if input.ndim != self.dims + 2 or input.shape[1] != self.in_channels:
            raise ShapeError(
                f"{name}: input must be (batch, {self.in_channels}, {self._image()}), got {input.shape}; "
                "for a sequence use the layer without Cell in its name"
            )
        states = self._split(hx) or self._zeros(input, input.shape[0])
        wanted = (input.shape[0], self.hidden_channels, *input.shape[2:])
        for kind, state in zip(self._states, states, strict=True):
            if state.shape != wanted:
                raise ShapeError(
                    f"{name}: {kind} must be (batch, hidden_channels, {self._image()}) = {wanted}, got {state.shape}"
                )
        _, *after = self._sweep(input.unsqueeze(0), states, "", None, reverse=False)
        return after[0] if len(after) == 1 else tuple(after)


_LAYER = """
    Maps (T, N, in_channels, *image), or (N, T, ...) with `batch_first`, to the states h of the last layer, (T, N,
    D * hidden_channels, *image) with D directions, and the last states of all layers and directions, each
    (num_layers * D, N, hidden_channels, *image). `hx` has those before the first step; zeros when None. `lengths` (N,)
    says how many steps each row has; outputs behind them are zero, and the other direction starts at a row's own end.
    `dropout` acts between layers, while training.
"""
_CELL = """
    Maps (N, in_channels, *image) and the state, each (N, hidden_channels, *image), zeros when left out, to the next.
"""
_WEIGHTS = """
    Weights weight_ih (G * hidden_channels, in_channels, *kernel) and weight_hh (G * hidden_channels, hidden_channels,
    *kernel) with G gates, and bias_ih and bias_hh; in layers their names end in _l0, _l0_reverse, _l1 and so on. All
    start uniform within 1 / sqrt(hidden_channels * kernel elements). `kernel_size` is odd; borders are zeros.
"""
_PEEPHOLE = """
    `peephole=True` lets the gates see the cell: i and f the one before, o the one after, by a weight for each channel,
    weight_ch (3, hidden_channels). It is made of plain ops, and takes nearly twice the time.
"""


class _LSTM(_ConvRecurrent):
    _gates, _states = 4, ("h", "c")

    def __init__(self, *args: Any, peephole: bool = False, **kwargs: Any) -> None:
        self.peephole = peephole
        super().__init__(*args, **kwargs)


class _GRU(_ConvRecurrent):
    _gates, _states = 3, ("h",)


def _made(name: str, dims: int, family: type[_ConvRecurrent], form: type[_ConvRecurrent]) -> Any:
    """The class of one name."""
    kind, paper = (
        ("An LSTM with the gates i f g o, whose states are the pair (h, c),", "Shi et al., NIPS 2015")
        if family is _LSTM
        else (
            "A GRU with the gates r z n, the reset gate after the convolution of the state,",
            "Ballas et al., ICLR 2016",
        )
    )
    what = "one step" if form is _Cell else "sequences"
    doc = f"{kind} over images of {dims} dimension{'s' * (dims > 1)}: {what} by convolutions.\n"
    doc += (_CELL if form is _Cell else _LAYER) + _WEIGHTS + (_PEEPHOLE if family is _LSTM else "")
    return type(
        name, (family, form), {"dims": dims, "__doc__": f"{doc}\n    Source: {paper}.\n    ", "__module__": __name__}
    )


ConvLSTM1d, ConvLSTM2d, ConvLSTM3d = (_made(f"ConvLSTM{d}d", d, _LSTM, _Layer) for d in (1, 2, 3))
ConvGRU1d, ConvGRU2d, ConvGRU3d = (_made(f"ConvGRU{d}d", d, _GRU, _Layer) for d in (1, 2, 3))
ConvLSTMCell1d, ConvLSTMCell2d, ConvLSTMCell3d = (_made(f"ConvLSTMCell{d}d", d, _LSTM, _Cell) for d in (1, 2, 3))
ConvGRUCell1d, ConvGRUCell2d, ConvGRUCell3d = (_made(f"ConvGRUCell{d}d", d, _GRU, _Cell) for d in (1, 2, 3))
