"""RNNCell, LSTMCell, GRUCell: one step of a recurrent net, built of plain ops, so differentiable as often as wanted.

For whole sequences RNN, LSTM and GRU are faster: there, one op makes all steps.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from minidl.core import Tensor
from minidl.device import Device
from minidl.device.dtypes import DType, promote
from minidl.errors import ArgumentError, ShapeError
from minidl.nn import functional as F
from minidl.nn import init
from minidl.nn.linear import blank
from minidl.nn.module import Module
from minidl.nn.parameter import Parameter
from minidl.ops.rnn.unrolled import gru_step, lstm_step, rnn_step

__all__ = ["GRUCell", "LSTMCell", "RNNCell"]


def check_sizes(module: Module, input_size: int, hidden_size: int) -> None:
    if input_size < 1 or hidden_size < 1:
        raise ArgumentError(
            f"{type(module).__name__}: input_size and hidden_size must be at least 1, got {input_size}, {hidden_size}"
        )


def check_layers(module: Module, num_layers: int, dropout: float) -> None:
    if num_layers < 1 or not 0 <= dropout <= 1:
        raise ArgumentError(
            f"{type(module).__name__}: num_layers must be at least 1 and dropout from 0 to 1, "
            f"got {num_layers} and {dropout}"
        )


def check_nonlinearity(module: Module, nonlinearity: str) -> None:
    if nonlinearity not in ("tanh", "relu"):
        raise ArgumentError(f"{type(module).__name__}: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")


def reset_uniform(module: Module, hidden_size: int) -> None:
    """PyTorch's starting values of recurrent layers: all weights and biases uniform within 1 / sqrt(hidden_size)."""
    bound = 1 / math.sqrt(hidden_size)
    for parameter in module.parameters():
        init.uniform_(parameter, -bound, bound)


class _Cell(Module):
    """What the three cells share: weights (gates * hidden_size, ...), and checks of what they are given."""

    _gates: ClassVar[int]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Device | str | None = None,
        dtype: DType | None = None,
    ) -> None:
        check_sizes(self, input_size, hidden_size)
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = self._gates * hidden_size
        self.weight_ih = blank(rows, input_size, device=device, dtype=dtype)
        self.weight_hh = blank(rows, hidden_size, device=device, dtype=dtype)
        self.bias_ih: Parameter | None = blank(rows, device=device, dtype=dtype) if bias else None
        self.bias_hh: Parameter | None = blank(rows, device=device, dtype=dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the starting values again."""
        reset_uniform(self, self.hidden_size)

    def _state(self, input: Tensor, state: Tensor | None) -> Tensor:
        """The state before this step, zeros if none is given, after shapes were checked."""
        name = type(self).__name__
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ShapeError(f"{name}: input must be (batch, {self.input_size}) or one row of it, got {input.shape}")
        shape = (*input.shape[:-1], self.hidden_size)
        if state is None:
            return Tensor.of(input.device.xp.zeros(shape, promote(input.dtype, self.weight_hh.dtype)))
        if state.shape != shape:
            raise ShapeError(f"{name}: the state must be {shape} beside input {input.shape}, got {state.shape}")
        return state

    def _projected(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight_ih, self.bias_ih)

    def _recurrent(self, h: Tensor) -> Tensor:
        return F.linear(h, self.weight_hh, self.bias_hh)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}{'' if self.bias else ', bias=False'}"


class RNNCell(_Cell):
    """h' = tanh(weight_ih x + bias_ih + weight_hh h + bias_hh), or relu in the place of tanh.

    Maps input (N, input_size) and state (N, hidden_size), zeros if left out, to the next state; without N for one row.
    """

    _gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Device | str | None = None,
        dtype: DType | None = None,
    ) -> None:
        check_nonlinearity(self, nonlinearity)
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        h = self._state(input, hx)
        return rnn_step(self.nonlinearity)(self._projected(input), self._recurrent(h), (h,))[0]

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")


class LSTMCell(_Cell):
    """One step of a long short-term memory; the formulas are in `minidl/ops/rnn/lstm.py`.

    Maps input (N, input_size) and (h, c), each (N, hidden_size), zeros if left out, to the next (h, c).
    """

    _gates = 4

    if TYPE_CHECKING:

        def __call__(  # type: ignore[override]
            self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
        ) -> tuple[Tensor, Tensor]: ...

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        h, c = (self._state(input, state) for state in hx or (None, None))
        h, c = lstm_step(self._projected(input), self._recurrent(h), (h, c))
        return h, c


class GRUCell(_Cell):
    """One step of a gated recurrent unit; the formulas are in `minidl/ops/rnn/gru.py`.

    Maps input (N, input_size) and state (N, hidden_size), zeros if left out, to the next state.
    """

    _gates = 3

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        h = self._state(input, hx)
        return gru_step(self._projected(input), self._recurrent(h), (h,))[0]
