"""The plain recurrent layer's formulas for the compiled sweeps."""

from __future__ import annotations

from typing import Any

from minidl.device import Array, inline
from minidl.device.vector_math import lanewise, relu, tanh, where_positive
from minidl.ops.rnn.cpu_sweep import Cell, forward_kernel, sweep
from minidl.ops.rnn.cpu_sweep_back import backward_kernel, sweep_back
from minidl.ops.rnn.cpu_sweep_shared import shared_kernel
from minidl.ops.rnn.cpu_sweep_within import within_kernel


@lanewise
def _tanh(total: Any) -> Any:
    return (tanh(total),)


@lanewise
def _relu(total: Any) -> Any:
    return (relu(total),)


@lanewise
def _tanh_slopes(h: Any, above: Any, carry: Any) -> Any:
    return (above + carry) * (1 - h * h), 0


@lanewise
def _relu_slopes(h: Any, above: Any, carry: Any) -> Any:
    return where_positive(h, above + carry), 0


@inline
def _advance_by_tanh(room: Array, sums: int, state: int, cell: int, size: int) -> None:
    _tanh(room, (sums, state), size)


@inline
def _advance_by_relu(room: Array, sums: int, state: int, cell: int, size: int) -> None:
    _relu(room, (sums, state), size)


@inline
def _retreat_by_tanh(room: Array, memory: int, slopes: int, carry: int, cell: int, size: int) -> None:
    _tanh_slopes(room, (memory, memory + 2 * size, carry, slopes, carry), size)


@inline
def _retreat_by_relu(room: Array, memory: int, slopes: int, carry: int, cell: int, size: int) -> None:
    _relu_slopes(room, (memory, memory + 2 * size, carry, slopes, carry), size)


CELLS = {
    "tanh": Cell(
        forward_kernel(_advance_by_tanh),
        shared_kernel(_advance_by_tanh),
        backward_kernel(_retreat_by_tanh),
        within_kernel(_retreat_by_tanh),
        1,
        (0,),
        (0,),
    ),
    "relu": Cell(
        forward_kernel(_advance_by_relu),
        shared_kernel(_advance_by_relu),
        backward_kernel(_retreat_by_relu),
        within_kernel(_retreat_by_relu),
        1,
        (0,),
        (0,),
    ),
}


def forward(
    out: tuple[Array, Array], x: Array, h0: Array, weight_ih: Array, weight_hh: Array, bias: Array,
    lengths: Array | None = None, *, nonlinearity: str,
) -> None:  # fmt: skip
    output, h = out
    h[...] = h0
    sweep(CELLS[nonlinearity], output, (h,), (), x, weight_ih, weight_hh, bias[:, None], lengths)


def backward(
    out: tuple[Array, ...], g: Array, g_h: Array, output: Array, x: Array, h0: Array, weight_ih: Array,
    weight_hh: Array, lengths: Array | None = None, *, nonlinearity: str, wants_x: bool,
) -> None:  # fmt: skip
    gx, gh, g_ih, g_hh, g_bias = out
    gh[...] = g_h
    weights = weight_ih, weight_hh
    sweep_back(
        CELLS[nonlinearity], gx, (gh,), (g_ih, g_hh), (g_bias,), g, output, (), x, (h0,), weights, lengths
    )  # fmt: skip
