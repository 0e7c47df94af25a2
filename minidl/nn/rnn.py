"""RNN, LSTM, GRU: recurrent layers over whole sequences, stacked and in both directions.

Each layer is one op that sweeps all steps, in both directions if wanted (`minidl/ops/rnn`).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, overload

from minidl.core import Tensor
from minidl.device import Array, Device
from minidl.device.dtypes import DType, promote
from minidl.errors import ArgumentError, ShapeError
from minidl.nn import functional as F
from minidl.nn.linear import blank
from minidl.nn.module import Module
from minidl.nn.parameter import Parameter
from minidl.nn.rnn_cells import check_layers, check_nonlinearity, check_sizes, reset_uniform
from minidl.nn.utils.rnn import PackedSequence, lengths_of, packed_rows, padded_rows
from minidl.ops import cat, gru_sequence, lstm_sequence, projected_lstm_sequence, rnn_sequence, stack

__all__ = ["GRU", "LSTM", "RNN"]

State = TypeVar("State")  # Tensor, or a pair of them


class _Recurrent(Module, Generic[State]):
    """Layers and directions, batches and packed sequences; a subclass adds its sweep."""

    _gates: ClassVar[int]
    _state_names: ClassVar[tuple[str, ...]] = ("h_0",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Device | str | None = None,
        dtype: DType | None = None,
    ) -> None:
        name = type(self).__name__
        check_sizes(self, input_size, hidden_size)
        check_layers(self, num_layers, dropout)
        if dropout and num_layers == 1:
            warnings.warn(f"{name}: dropout acts between layers, so it does nothing with one layer", stacklevel=3)
        self.input_size, self.hidden_size, self.num_layers, self.bias = input_size, hidden_size, num_layers, bias
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        for place, suffix in enumerate(self._suffixes()):
            width = input_size if place < self._directions else self._state_sizes[0] * self._directions
            for weight, shape in self._shapes(width).items():
                setattr(self, weight + suffix, blank(*shape, device=device, dtype=dtype))
        self.reset_parameters()

    @property
    def _state_sizes(self) -> tuple[int, ...]:
        """How many numbers a row has in each state."""
        return (self.hidden_size,) * len(self._state_names)

    def _shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        """The weights of one layer and direction, whose input has `width` numbers."""
        rows = self._gates * self.hidden_size
        biases = {"bias_ih": (rows,), "bias_hh": (rows,)} if self.bias else {}
        return {"weight_ih": (rows, width), "weight_hh": (rows, self._state_sizes[0]), **biases}

    if TYPE_CHECKING:

        @overload  # type: ignore[override]
        def __call__(self, input: Tensor, hx: State | None = None) -> tuple[Tensor, State]: ...
        @overload
        def __call__(self, input: PackedSequence, hx: State | None = None) -> tuple[PackedSequence, State]: ...
        def __call__(self, input: Any, hx: Any = None) -> Any: ...

    @property
    def _directions(self) -> int:
        return 1 + self.bidirectional

    def _suffixes(self) -> list[str]:
        """The ends of the weights' names, in the order of layers and, in a layer, directions."""
        directions = ("", "_reverse")[: self._directions]
        return [f"_l{layer}{direction}" for layer in range(self.num_layers) for direction in directions]

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """For each layer and direction weight_ih, weight_hh and, where there are, bias_ih, bias_hh and weight_hr."""
        return [[getattr(self, kind + suffix) for kind in self._shapes(0)] for suffix in self._suffixes()]

    def reset_parameters(self) -> None:
        """Draw the starting values again."""
        reset_uniform(self, self.hidden_size)

    def flatten_parameters(self) -> None:
        """Nothing: weights need not lie in one piece here. PyTorch's programs call it."""

    def forward(self, input: Any, hx: State | None = None) -> tuple[Any, State]:
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            order = "batch, steps" if self.batch_first else "steps, batch"
            raise ShapeError(
                f"{type(self).__name__}: input must be ({order}, {self.input_size}) or (steps, {self.input_size}), "
                f"got {input.shape}"
            )
        states = self._split(hx)
        if input.ndim == 2:
            output, last = self._layers(input.unsqueeze(1), [s.unsqueeze(1) for s in self._ranked(states, 2)], None)
            return output.squeeze(1), self._join([s.squeeze(1) for s in last])
        x = input.transpose(0, 1) if self.batch_first else input
        output, last = self._layers(x, self._ranked(states, 3), None)
        return output.transpose(0, 1) if self.batch_first else output, self._join(last)

    def _forward_packed(self, input: PackedSequence, hx: State | None) -> tuple[PackedSequence, State]:
        """Padded again, in the order of the packing; states come and go in the order of the batch."""
        data, sizes, order, back = input
        if data.ndim != 2 or data.shape[1] != self.input_size:
            raise ShapeError(f"{type(self).__name__}: packed data must be (., {self.input_size}), got {data.shape}")
        lengths = lengths_of(input)
        states = self._ranked(self._split(hx), 3)
        if order is not None:
            states = [s.index_select(1, order) for s in states]
        output, last = self._layers(padded_rows(data, lengths, len(sizes)), states, lengths)
        if back is not None:
            last = [s.index_select(1, back) for s in last]
        return PackedSequence(packed_rows(output, lengths), sizes, order, back), self._join(last)

    def _layers(self, x: Tensor, states: Sequence[Tensor], lengths: Array | None) -> tuple[Tensor, list[Tensor]]:
        """All layers on (steps, N, input_size): the last one's output, and the last states of all."""
        places = self.num_layers * self._directions
        self._check_states(states, places, x.shape[1])
        steps = None if lengths is None else Tensor.of(lengths).to(x.device)
        weights = self.all_weights
        shapes = [(self._directions, x.shape[1], size) for size in self._state_sizes]
        dtype = promote(x.dtype, weights[0][0].dtype)
        zeros = [Tensor.of(x.device.xp.zeros(shape, dtype)) for shape in shapes]
        last: list[tuple[Tensor, ...]] = []
        for place in range(0, places, self._directions):
            whole = slice(place, place + self._directions)
            starts = [s[whole] for s in states] or zeros
            kinds = [_joined(of_kind) for of_kind in zip(*weights[whole], strict=True)]
            if not self.bias:
                kinds[2:2] = [Tensor.of(x.device.xp.zeros(kinds[0].shape[:2], kinds[0].dtype))] * 2
            x, *ends = self._sweep(x, starts, kinds, steps)
            last.append(tuple(ends))
            x = F.dropout(x, self.dropout, self.training and whole.stop < places)
        return x, [ends[0] if len(ends) == 1 else cat(ends, 0) for ends in zip(*last, strict=True)]

    def _check_states(self, states: Sequence[Tensor], places: int, batch: int) -> None:
        for name, state, size in zip(self._state_names, states, self._state_sizes, strict=False):
            shape, word = (places, batch, size), "hidden_size" if size == self.hidden_size else "proj_size"
            if state.shape != shape:
                raise ShapeError(
                    f"{type(self).__name__}: {name} must be (num_layers * directions, batch, {word}) = {shape}, "
                    f"got {state.shape}"
                )

    def _ranked(self, states: Sequence[Tensor], ndim: int) -> Sequence[Tensor]:
        """The given states, after a look at their number of dimensions."""
        for name, state in zip(self._state_names, states, strict=True) if states else ():
            if state.ndim != ndim:
                raise ShapeError(
                    f"{type(self).__name__}: beside {'a batch' if ndim == 3 else 'one sequence'}, {name} must have "
                    f"{ndim} dimensions, got {state.shape}"
                )
        return states

    def _sweep(
        self, x: Tensor, starts: Sequence[Tensor], weights: Sequence[Tensor], lengths: Tensor | None
    ) -> tuple[Tensor, ...]:
        """One layer: its states (steps, N, D hidden_size), and what it ends with.

        `weights` are weight_ih, weight_hh, bias_ih, bias_hh and, in a layer that has one, weight_hr of all its
        directions, (D, ...).
        """
        raise NotImplementedError

    def _split(self, hx: Any) -> Sequence[Tensor]:
        return () if hx is None else (hx,)

    def _join(self, states: Sequence[Tensor]) -> Any:
        return states[0]

    def extra_repr(self) -> str:
        defaults = {
            "proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False,
        }  # fmt: skip
        own = vars(self)
        changed = [f"{name}={own[name]}" for name, usual in defaults.items() if own.get(name, usual) != usual]
        return ", ".join([str(self.input_size), str(self.hidden_size), *changed])


def _joined(directions: Sequence[Tensor]) -> Tensor:
    """The weights of one direction or two as one tensor, (D, ...)."""
    return directions[0].unsqueeze(0) if len(directions) == 1 else stack(directions)


class RNN(_Recurrent[Tensor]):
    """h' = tanh(weight_ih x + bias_ih + weight_hh h + bias_hh) along sequences, or relu in the place of tanh.

    Maps (T, N, input_size), or (N, T, input_size) with `batch_first`, or (T, input_size) for one sequence, or a
    PackedSequence, to the states of the last layer, (T, N, D * hidden_size) with D directions, and the last state of
    each layer and direction, (num_layers * D, N, hidden_size). The state before the first step may be given as `hx`,
    shaped like the latter; it is zero otherwise. `dropout` acts between layers, while training.

    Weights weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, for further layers _l1 and so on, backwards
    _l0_reverse; all start uniform within 1 / sqrt(hidden_size).

    Source: Elman, "Finding structure in time", Cognitive Science 14 (1990).
    """

    _gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
        device: Device | str | None = None, dtype: DType | None = None,
    ) -> None:  # fmt: skip
        check_nonlinearity(self, nonlinearity)
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device=device, dtype=dtype
        )

    def _sweep(
        self, x: Tensor, starts: Sequence[Tensor], weights: Sequence[Tensor], lengths: Tensor | None
    ) -> tuple[Tensor, ...]:
        weight_ih, weight_hh, bias_ih, bias_hh = weights
        bias = bias_ih + bias_hh
        return rnn_sequence(x, starts[0], weight_ih, weight_hh, bias, lengths, nonlinearity=self.nonlinearity)


class LSTM(_Recurrent["tuple[Tensor, Tensor]"]):
    """A long short-term memory along sequences; the formulas are in `minidl/ops/rnn/lstm.py`.

    Shapes and weights as in `RNN`, with four gates, in the order i f g o. States are pairs: `hx` is (h_0, c_0), and the
    second result is (h_n, c_n).

    With a `proj_size`, from 1 to hidden_size - 1, the state h is weight_hr_l0 (proj_size, hidden_size) times what it
    would be otherwise: outputs, h_0 and h_n have `proj_size` numbers where they had `hidden_size`, c has not.

    Source: Hochreiter and Schmidhuber, Neural Computation 9 (1997); projections: Sak et al., arXiv:1402.1128.
    """

    _gates = 4
    _state_names = ("h_0", "c_0")

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, device: Device | str | None = None,
        dtype: DType | None = None,
    ) -> None:  # fmt: skip
        if not 0 <= proj_size < max(hidden_size, 1):
            raise ArgumentError(
                f"LSTM: proj_size must be from 0 (none) to less than hidden_size {hidden_size}, got {proj_size}"
            )
        self.proj_size = proj_size
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device=device, dtype=dtype
        )

    def _sweep(
        self, x: Tensor, starts: Sequence[Tensor], weights: Sequence[Tensor], lengths: Tensor | None
    ) -> tuple[Tensor, ...]:
        weight_ih, weight_hh, bias_ih, bias_hh, *weight_hr = weights
        sweep: Any = projected_lstm_sequence if weight_hr else lstm_sequence
        return sweep(x, *starts, weight_ih, weight_hh, bias_ih + bias_hh, *weight_hr, lengths)  # type: ignore[no-any-return]

    @property
    def _state_sizes(self) -> tuple[int, ...]:
        return self.proj_size or self.hidden_size, self.hidden_size

    def _shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        projection = {"weight_hr": (self.proj_size, self.hidden_size)} if self.proj_size else {}
        return {**super()._shapes(width), **projection}

    def _split(self, hx: Any) -> Sequence[Tensor]:
        if hx is not None and not (isinstance(hx, (tuple, list)) and len(hx) == 2):
            raise ArgumentError(f"LSTM: hx must be the pair (h_0, c_0), got {type(hx).__name__}")
        return hx or ()

    def _join(self, states: Sequence[Tensor]) -> Any:
        return tuple(states)


class GRU(_Recurrent[Tensor]):
    """A gated recurrent unit along sequences; the formulas are in `minidl/ops/rnn/gru.py`.

    Shapes and weights as in `RNN`, with three gates, in the order r z n.

    Source: Cho et al., EMNLP 2014.
    """

    _gates = 3

    def _sweep(
        self, x: Tensor, starts: Sequence[Tensor], weights: Sequence[Tensor], lengths: Tensor | None
    ) -> tuple[Tensor, ...]:
        weight_ih, weight_hh, bias_ih, bias_hh = weights
        return gru_sequence(x, starts[0], weight_ih, weight_hh, bias_ih, bias_hh, lengths)
