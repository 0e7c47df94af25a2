"""The sweep over the steps: a convolution of the state, then the gates, T times; and back the other way.

For N images of P pixels, H channels of state and k taps of a kernel, each step takes

    sums of the state = conv(h, W_hh)     2·N·P·k·G·H·H operations
    gates, h, c from both sums            one pass; LSTM: 10 H numbers read and 7 H written for each pixel

and going back the slopes of the sums (one pass as well) and their convolution with the kernel turned round, which is
the gradient of the state before. The gradients of the weights need no sweep: each is one convolution over all steps.

What is written is written where it stays: no step is copied into a whole later. An LSTM's gates take the place of the
input's share of the sums. Each row of the batch has its own number of steps; without one its state stays as it is.

Training step, 3 x 3, one core of a busy Zen 5, beside the fastest of three loops over PyTorch's convolutions
(`python -m benchmarks.conv_rnn`), LSTM and GRU: T 10, N 4, 1 to 32 channels, 64 x 64, 1.9 and 2.0 times as fast; 16 to
64, 32 x 32, 1.6 and 1.5; T 8, N 2, 32 to 16, 64 x 64, 1.3 and 1.4; T 10, N 8, 1 to 16, 64 x 64, 1.6 and 2.2. The gates
take a fifth of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from minidl.core import Array, Grads, Node, Op, Run, Spec, Tensor, is_recording
from minidl.device import CPU, empty
from minidl.device.dtypes import promote
from minidl.errors import ShapeError
from minidl.ops.conv import Conv, ConvGradInput, ConvGradWeight, backward, forward, im2col
from minidl.ops.conv.epilogue import Epilogue
from minidl.ops.conv_rnn.pixels import Gates
from minidl.ops.rnn.sweep import one_type, or_zeros
from minidl.ops.rnn.unrolled import Step, taped_gradients, unroll
from minidl.ops.windows import Sizes


@dataclass(frozen=True)
class Cell:
    """A kind of cell.

    Attributes:
        parts: how many times the channels of the state its sums have.
        columns: the same of the gates that are saved.
        states: how many it carries from step to step: h, or h and c.
        gates: its compiled formulas.
        step: its formulas in plain ops.
        advance: (xp, of_x, of_h, states) to the states after a step and the gates, on arrays.
        retreat: (xp, gates, after, before, g_h, g_c) to the slopes of the input's sums and of the state's, and to what
            of the gradients of h and c does not pass through these sums.
    """

    parts: int
    columns: int
    states: int
    gates: Gates
    step: Step
    advance: Callable[..., tuple[tuple[Array, ...], Array]]
    retreat: Callable[..., tuple[Array, Array, Array, Array | None]]

    @property
    def slopes(self) -> int:
        """1 where the sums of input and state have the same slopes, else 2."""
        return 1 if self.gates.order_x == self.gates.order_h else 2


class _Sweep(Op):
    """What both ways share; a subclass names a cell."""

    cell: ClassVar[Cell]

    @classmethod
    def __init_subclass__(cls) -> None:
        if "name" in cls.__dict__:
            cls.infer = staticmethod(cls._rule())
        super().__init_subclass__()

    @classmethod
    def _rule(cls) -> Callable[..., tuple[Spec, ...]]:
        raise NotImplementedError

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and one_type(arrays)


class ConvSequence(_Sweep):
    """Gives all states h (T N, H, *image), the last states, and for backward the gates and, if there is one, all c.

    Without `keep`, the latter have no steps.
    """

    grad: ClassVar[type[ConvSequenceGrad]]
    saves = ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "lengths", "h0", "c0", "out")
    images = ("x", "h0", "c0", "out")

    @classmethod
    def _rule(cls) -> Callable[..., tuple[Spec, ...]]:
        def infer(
            x: Spec, weight_ih: Spec, weight_hh: Spec, bias_ih: Spec, bias_hh: Spec, lengths: Spec, h0: Spec,
            c0: Spec | None = None, *, reverse: bool, keep: bool,
        ) -> tuple[Spec, ...]:  # fmt: skip
            states = [h0] if c0 is None else [h0, c0]
            hidden = _check(cls.name, cls.cell, x, weight_ih, weight_hh, (bias_ih, bias_hh), lengths, states)
            dtype = promote(*[s.dtype for s in (x, weight_ih, weight_hh, bias_ih, bias_hh, *states)])
            count, image = x.shape[0], x.shape[2:]
            kept = count if keep else 0
            last = [Spec(s.shape, dtype) for s in states]
            saved = [(kept, cls.cell.columns * hidden, *image)] + [(kept, hidden, *image)] * (len(states) - 1)
            return (Spec((count, hidden, *image), dtype), *last, *[Spec(shape, dtype) for shape in saved])

        return infer

    @classmethod
    def reference(
        cls, xp: Any, out: tuple[Array, ...], x: Array, weight_ih: Array, weight_hh: Array, bias_ih: Array,
        bias_hh: Array, lengths: Array, *starts: Array, reverse: bool, keep: bool,
    ) -> None:  # fmt: skip
        count = cls.cell.states
        output, *saved = (_steps(a, len(lengths)) for a in (out[0], *out[1 + count :]))
        of_x = _steps(_convolved(xp, x, weight_ih, bias_ih), len(lengths))
        states: Sequence[Array] = starts
        for t in _order(len(of_x), reverse=reverse):
            rows = _rows(lengths, t, of_x.ndim - 1)
            new, gates = cls.cell.advance(xp, of_x[t], _convolved(xp, states[0], weight_hh, bias_hh), states)
            output[t] = xp.where(rows, new[0], 0)
            for kept, value in zip(saved if keep else (), (gates, *new[1:]), strict=keep):
                kept[t] = xp.where(rows, value, 0)
            states = [xp.where(rows, after, before) for after, before in zip(new, states, strict=True)]
        for last, state in zip(out[1 : 1 + count], states, strict=True):
            last[...] = state

    @classmethod
    def cpu(
        cls, out: tuple[Array, ...], x: Array, weight_ih: Array, weight_hh: Array, bias_ih: Array, bias_hh: Array,
        lengths: Array, *starts: Array, reverse: bool, keep: bool,
    ) -> None:  # fmt: skip
        cell, (output, *rest) = cls.cell, out
        states, saved = rest[: cell.states], rest[cell.states :]
        for last, start in zip(states, starts, strict=True):
            last[...] = start
        if not output.size:
            return
        shape = (*x.shape[:-1], len(weight_ih))
        of_x = saved[0] if saved[0].shape == shape else empty(CPU, shape, x.dtype)  # the gates may take its place
        of_h = empty(CPU, (len(lengths), *shape[1:]), x.dtype)
        _convolution(of_x, x, weight_ih)(of_x, x, weight_ih, bias_ih)
        convolve = _convolution(of_h, states[0], weight_hh)
        for t in _order(len(x) // len(lengths), reverse=reverse):
            convolve(of_h, states[0], weight_hh, bias_hh)
            cell.gates.advance(t, output, states, saved, of_x, of_h, lengths)

    @classmethod
    def vjp(cls, node: Node, g: Any) -> Grads:
        x, weight_ih, weight_hh, bias_ih, bias_hh, lengths, *states, results = node.saved
        states = [s for s in states if s is not None]
        reverse, count = node.params["reverse"], cls.cell.states
        if is_recording():
            inputs = (x, weight_ih, weight_hh, bias_ih, bias_hh, *states)
            needs = (*node.needs[:5], *node.needs[6:])

            def again(*inputs: Tensor) -> Sequence[Tensor]:
                return cls._unrolled(lengths, reverse, *inputs)

            found = taped_gradients(again, inputs, g[: 1 + count], needs)
            return (*found[:5], None, *found[5:])
        grads = [or_zeros(given, like) for given, like in zip(g[: 1 + count], results, strict=False)]
        kept = results[1 + count :] if count > 1 else (results[2], results[0])
        of_x, *more = cls.grad.apply(*grads, *kept, states[-1], weight_hh, lengths, reverse=reverse)
        slopes, g_states = (of_x, *more)[: cls.cell.slopes], more[cls.cell.slopes - 1 :]
        g_x = ConvGradInput.apply(of_x, weight_ih, image=x.shape[2:], **_same(weight_ih)) if node.needs[0] else None
        g_weight_ih = ConvGradWeight.apply(x, of_x, kernel=weight_ih.shape[2:], **_same(weight_ih))
        g_weight_hh = _weight_gradient(slopes[-1], results[0], states[0], weight_hh, lengths, reverse=reverse)
        biases = [s.sum([d for d in range(s.ndim) if d != 1]) for s in slopes]
        return (g_x, g_weight_ih, g_weight_hh, biases[0], biases[-1], None, *g_states)

    @classmethod
    def _unrolled(
        cls, lengths: Tensor, reverse: bool, x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor,
        bias_hh: Tensor, *states: Tensor,
    ) -> Sequence[Tensor]:  # fmt: skip
        product = functools.partial(same_convolution, weight=weight_hh, bias=bias_hh)
        of_x, batch = same_convolution(x, weight_ih, bias_ih), lengths.shape[0]
        of_x = of_x.reshape(of_x.shape[0] // batch, batch, *of_x.shape[1:])
        output, *last = unroll(cls.cell.step, of_x, product, states, lengths, reverse=reverse)
        return output.flatten(0, 1), *last


class ConvSequenceGrad(_Sweep):
    """Backpropagation through time: the slopes of the sums, of the state's too where they differ, and g of the starts.

    Inputs: the gradients of the output and the last states, gates, the states that they belong to at each step and
    before the first, weight_hh and lengths.
    """

    @classmethod
    def _rule(cls) -> Callable[..., tuple[Spec, ...]]:
        def infer(
            g: Spec, g_h: Spec, gates: Spec, kept: Spec, start: Spec, weight: Spec, lengths: Spec, *, reverse: bool
        ) -> tuple[Spec, ...]:
            slopes = g.with_shape(g.shape[0], weight.shape[0], *g.shape[2:])
            return (*(slopes,) * cls.cell.slopes, g_h)

        def infer_with_cell(
            g: Spec, g_h: Spec, g_c: Spec, gates: Spec, kept: Spec, start: Spec, weight: Spec, lengths: Spec,
            *, reverse: bool,
        ) -> tuple[Spec, ...]:  # fmt: skip
            return (*infer(g, g_h, gates, kept, start, weight, lengths, reverse=reverse), g_c)

        return infer if cls.cell.states == 1 else infer_with_cell

    @classmethod
    def reference(cls, xp: Any, out: tuple[Array, ...], g: Array, g_h: Array, *rest: Array, reverse: bool) -> None:
        *g_c, gates, kept, start, weight, lengths = rest
        slopes, first = out[: cls.cell.slopes], out[cls.cell.slopes :]
        above, gates, kept, *by_step = (_steps(a, len(lengths)) for a in (g, gates, kept, *slopes))
        carried: list[Any] = [g_h, *g_c, None]
        for t in _order(len(above), reverse=not reverse):
            rows, before = _rows(lengths, t, g.ndim), _before(xp, t, kept, start, lengths, reverse=reverse)
            total = carried[0] + above[t]
            of_x, of_h, *direct = cls.cell.retreat(xp, gates[t], kept[t], before, total, carried[1])
            for into, value in zip(by_step, (of_x, of_h), strict=False):
                into[t] = xp.where(rows, value, 0)
            direct[0] = direct[0] + _convolved_back(xp, by_step[-1][t], weight)
            carried = [
                None if new is None else xp.where(rows, new, old) for new, old in zip(direct, carried, strict=False)
            ]
        for into, value in zip(first, carried, strict=False):
            into[...] = value

    @classmethod
    def cpu(cls, out: tuple[Array, ...], g: Array, g_h: Array, *rest: Array, reverse: bool) -> None:
        *g_c, gates, kept, start, weight, lengths = rest
        slopes, carried = out[: cls.cell.slopes], out[cls.cell.slopes :]
        for into, given in zip(carried, (g_h, *g_c), strict=True):
            into[...] = given
        if not g.size:
            return
        batch, spread = len(lengths), empty(CPU, g_h.shape, g_h.dtype)
        convolve_back = _adjoint(spread, slopes[-1][:batch], weight)
        for t in _order(len(g) // batch, reverse=not reverse):
            cls.cell.gates.retreat(t, slopes, carried, g, (gates, kept), start, lengths, reverse=reverse)
            convolve_back(spread, slopes[-1][t * batch : (t + 1) * batch], weight)
            np.add(carried[0], spread, out=carried[0])


def same_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution of x (N, C, *image) that keeps its size."""
    tensors = (x, weight) if bias is None else (x, weight, bias)
    result: Tensor = Conv.apply(*tensors, **_same(weight))
    return result


def _check(
    name: str, cell: Cell, x: Spec, weight_ih: Spec, weight_hh: Spec, biases: Sequence[Spec], lengths: Spec,
    states: Sequence[Spec],
) -> int:  # fmt: skip
    """The channels of the state, after all shapes were found to fit; x is (T N, C, *image)."""
    hidden = weight_hh.shape[1] if weight_hh.ndim == x.ndim else 0
    if x.ndim > 5 or weight_hh.shape[:1] != (cell.parts * hidden,) or not hidden:
        raise ShapeError(
            f"{name}: weight_hh must be ({cell.parts} * hidden, hidden, *kernel) with as many lengths as the "
            f"images {x.shape[2:]} have, 1 to 3, got {weight_hh.shape}"
        )
    if weight_ih.ndim != x.ndim or weight_ih.shape[:2] != (cell.parts * hidden, x.shape[1]):
        raise ShapeError(
            f"{name}: weight_ih must be ({cell.parts * hidden}, {x.shape[1]}, *kernel) beside weight_hh "
            f"{weight_hh.shape} and an input of {x.shape[1]} channels, got {weight_ih.shape}"
        )
    for kind, weight in (("weight_ih", weight_ih), ("weight_hh", weight_hh)):
        if any(k % 2 == 0 for k in weight.shape[2:]):
            raise ShapeError(
                f"{name}: {kind} must have a kernel of odd lengths, which keeps the size of the image, "
                f"got {weight.shape}"
            )
    for kind, bias in zip(("bias_ih", "bias_hh"), biases, strict=True):
        if bias.shape != weight_hh.shape[:1]:
            raise ShapeError(f"{name}: {kind} must be ({weight_hh.shape[0]},), got {bias.shape}")
    state = (lengths.shape[0], hidden, *x.shape[2:])
    for kind, given in zip(("h0", "c0"), states, strict=False):
        if given.shape != state:
            raise ShapeError(f"{name}: {kind} must be (batch, hidden, *image) = {state}, got {given.shape}")
    if 0 in x.shape[2:]:
        raise ShapeError(f"{name}: input must have pixels, got images of {x.shape[2:]}")
    return hidden


def _same(weight: Tensor) -> dict[str, Any]:
    """The parameters of a convolution that keeps the size of the image."""
    ones = (1,) * (weight.ndim - 2)
    return {"stride": ones, "padding": _padding(weight.shape), "dilation": ones, "groups": 1}


def _padding(weight: Sizes) -> Sizes:
    return tuple(k // 2 for k in weight[2:])


def _convolution(out: Array, x: Array, weight: Array) -> Run:
    ones = (1,) * (x.ndim - 2)
    return forward(out, x, weight, Epilogue(), ones, _padding(weight.shape), ones, 1)


def _adjoint(out: Array, g: Array, weight: Array) -> Run:
    ones = (1,) * (g.ndim - 2)
    return backward(out, g, weight, Epilogue(), ones, _padding(weight.shape), ones, 1)


def _convolved(xp: Any, x: Array, weight: Array, bias: Array) -> Array:
    ones, dtype = (1,) * (x.ndim - 2), promote(x.dtype, weight.dtype)
    out = xp.empty((len(x), len(weight), *x.shape[2:]), dtype)
    im2col.convolve(xp, out, x.astype(dtype), weight.astype(dtype), ones, _padding(weight.shape), ones, 1)
    return out + bias.reshape(-1, *ones)


def _convolved_back(xp: Any, g: Array, weight: Array) -> Array:
    ones = (1,) * (g.ndim - 2)
    out = xp.empty((len(g), weight.shape[1], *g.shape[2:]), g.dtype)
    im2col.convolve_back(xp, out, g, weight.astype(g.dtype), ones, _padding(weight.shape), ones, 1)
    return out


def _order(count: int, *, reverse: bool) -> Iterator[int]:
    return iter(range(count - 1, -1, -1) if reverse else range(count))


def _steps(images: Array, batch: int) -> Array:
    """(T N, C, *image) as (T, N, C, *image)."""
    return images.reshape(len(images) // max(batch, 1), batch, *images.shape[1:])


def _rows(lengths: Array, t: int, ndim: int) -> Array:
    """Which rows have step t, (N, 1, ...)."""
    return (t < lengths).reshape(-1, *[1] * (ndim - 1))


def _before(xp: Any, t: int, states: Array, start: Array, lengths: Array, *, reverse: bool) -> Array:
    """The state that step t began with: that of the step before it, or `start`."""
    t += 1 if reverse else -1
    if not 0 <= t < len(states):
        return start
    return xp.where(_rows(lengths, t, start.ndim), states[t], start)


def _weight_gradient(
    slopes: Tensor, output: Tensor, h0: Tensor, weight: Tensor, lengths: Tensor, *, reverse: bool
) -> Tensor:
    """That of weight_hh, over all steps: the slopes of each with the state before it, `h0` at each row's first step."""
    batch, params = h0.shape[0], {"kernel": weight.shape[2:], **_same(weight)}
    later, earlier = (slopes[:-batch], output[batch:]) if reverse else (slopes[batch:], output[:-batch])
    first = slopes[:batch]
    if reverse:  # where a row is over, the state of the step after it, `output`, is zero
        first = slopes[Tensor.of((lengths.array - 1) * batch + h0.device.xp.arange(batch))]
    total: Tensor = ConvGradWeight.apply(h0, first, **params)
    return total + ConvGradWeight.apply(earlier, later, **params) if later.shape[0] else total
