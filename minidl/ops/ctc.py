"""ctc_loss: the probability of a label sequence that was not aligned with the input, summed over all alignments.

Labels stand with blanks around each, W = 2 S + 1 places. Forward goes through the steps with the logarithm of what has
reached each place (alpha), backward from the end with that of what is still to come (beta); exp(alpha + beta - total)
is the share of all alignments that pass a place, and the gradient of its log-probability. Each step takes three
exponentials and a logarithm a place; samples are shared out among threads. For a second derivative it is written in
ops instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor, is_recording
from minidl.device import inline, kernel, parallel
from minidl.device.dtypes import DType
from minidl.device.scalar_math import exp, log
from minidl.errors import ArgumentError, ShapeError
from minidl.ops.concat import cat
from minidl.ops.elementwise import quiet
from minidl.ops.exponents import logaddexp
from minidl.ops.indexing import gather
from minidl.ops.reduce import mean
from minidl.ops.reduce import sum as sum_
from minidl.ops.rnn.unrolled import taped_gradients
from minidl.ops.views import expand, narrow, reshape, select, unsqueeze
from minidl.ops.where import where

__all__ = ["ctc_loss"]


class Ctc(Op):
    """log p(labels | x) of each sample, and alpha, (N, T, W)."""

    name = "ctc"
    saves = ("x", "labels", "steps", "lengths", "out")

    @staticmethod
    def infer(x: Spec, labels: Spec, steps: Spec, lengths: Spec, *, blank: int) -> tuple[Spec, Spec]:
        return x.with_shape(x.shape[1]), x.with_shape(x.shape[1], x.shape[0], labels.shape[1])

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array], x: Array, labels: Array, steps: Array, lengths: Array, *, blank: int
    ) -> None:
        total, alpha = out
        emitted, skips = _emitted(xp, x, labels), _skips(xp, labels, blank, x.dtype)
        state = xp.full(labels.shape, -math.inf, x.dtype)
        for t in range(len(x)):
            if t:
                reached = xp.logaddexp(xp.logaddexp(state, _shifted(xp, state, 1)), _shifted(xp, state, 2) + skips)
            else:
                reached = xp.where(xp.arange(labels.shape[1]) < 2, 0, xp.full(labels.shape, -math.inf, x.dtype))
            state = xp.where(xp.expand_dims(steps > t, 1), reached + emitted[t], state)
            alpha[:, t] = state
        rows, last = xp.arange(len(labels)), 2 * lengths
        label = xp.where(last > 0, state[rows, xp.maximum(last - 1, 0)], -math.inf)
        silent = xp.where(lengths == 0, 0.0, -math.inf)
        total[...] = xp.where(steps == 0, silent, xp.logaddexp(state[rows, last], label))

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and arrays[0].size > 0

    @staticmethod
    def cpu(out: tuple[Array, Array], x: Array, labels: Array, steps: Array, lengths: Array, *, blank: int) -> None:
        parallel(_forward, len(labels), *out, x, labels, steps, lengths, _skips(np, labels, blank, x.dtype), block=1)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        x, labels, steps, lengths, (total, alpha) = node.saved
        if is_recording():
            given = (labels.array, steps.array, lengths.array, node.params["blank"])
            (gx,) = taped_gradients(lambda x: (_log_likelihood(x, *given),), [x], [g[0]], [True])
            return gx, None, None, None
        found = CtcGrad.apply(g[0], x, labels, steps, lengths, total.detach(), alpha.detach(), **node.params)
        return found, None, None, None


class CtcGrad(Op):
    """The gradient of the log-probabilities."""

    name = "ctc_grad"

    @staticmethod
    def infer(
        g: Spec, x: Spec, labels: Spec, steps: Spec, lengths: Spec, total: Spec, alpha: Spec, *, blank: int
    ) -> Spec:
        return x

    @staticmethod
    def reference(
        xp: Any, out: Array, g: Array, x: Array, labels: Array, steps: Array, lengths: Array, total: Array,
        alpha: Array, *, blank: int,
    ) -> None:  # fmt: skip
        out[...] = 0
        emitted, skips = _emitted(xp, x, labels), _skips(xp, labels, blank, x.dtype)
        places, rows = xp.arange(labels.shape[1]), xp.arange(len(labels)).reshape(-1, 1)
        last = (2 * lengths).reshape(-1, 1)
        at_end = xp.where((places == last) | (places == last - 1), 0, xp.full(labels.shape, -math.inf, x.dtype))
        beta = at_end
        with quiet():
            for t in reversed(range(len(x))):
                if t + 1 < len(x):
                    after = beta + emitted[t + 1]
                    reached = xp.logaddexp(after, _shifted(xp, after, -1))
                    reached = xp.logaddexp(reached, _shifted(xp, after + skips, -2))
                    beta = xp.where(xp.expand_dims(steps > t + 1, 1), reached, at_end)
                share = xp.exp(alpha[:, t] + beta - xp.expand_dims(total, 1)) * xp.expand_dims(g, 1)
                share = xp.where(xp.expand_dims((steps > t) & (g != 0), 1), share, 0)
                xp.add.at(out[t], (rows, labels), share.astype(x.dtype))

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and arrays[0].dtype == arrays[1].dtype and arrays[1].size > 0

    @staticmethod
    def cpu(
        out: Array, g: Array, x: Array, labels: Array, steps: Array, lengths: Array, total: Array, alpha: Array,
        *, blank: int,
    ) -> None:  # fmt: skip
        skips = _skips(np, labels, blank, x.dtype)
        parallel(_backward, len(labels), out, g, x, labels, steps, lengths, total, alpha, skips, block=1)


def _emitted(xp: Any, x: Array, labels: Array) -> Array:
    """(T, N, W): the log-probability of the label of each place at each step."""
    return xp.take_along_axis(x, xp.broadcast_to(labels, (len(x), *labels.shape)), axis=2)


def _skips(xp: Any, labels: Array, blank: int, dtype: DType) -> Array:
    """(N, W): 0 where a label may follow another one without the blank between, unless they equal; else -inf."""
    skips = xp.full(labels.shape, -math.inf, dtype)
    skips[:, 2:][(labels[:, 2:] != blank) & (labels[:, 2:] != labels[:, :-2])] = 0
    return skips


def _shifted(xp: Any, rows: Array, by: int) -> Array:
    """Rows moved to the right (or to the left) by so many places, -inf where nothing comes from."""
    moved = xp.full(rows.shape, -math.inf, rows.dtype)
    if by > 0:
        moved[:, by:] = rows[:, :-by]
    else:
        moved[:, :by] = rows[:, -by:]
    return moved


@inline
def _log_of_three(a: Any, b: Any, c: Any, least: Any) -> Any:
    """log(exp(a) + exp(b) + exp(c)); -inf of three times -inf."""
    top = a if a > b else b
    top = c if c > top else top
    top = least if top < least else top  # so that nothing is -inf less -inf
    return top + log(exp(a - top) + exp(b - top) + exp(c - top))


@kernel(
    "T[::1], T[:, :, ::1], const T[:, :, ::1], const int64[:, ::1], const int64[::1], const int64[::1], "
    "const T[:, ::1]", T=("float32", "float64"),
)  # fmt: skip
def _forward(
    begin: int, end: int, total: Array, alpha: Array, x: Array, labels: Array, steps: Array, lengths: Array,
    skips: Array,
) -> None:  # fmt: skip
    """Samples begin to end. `before` has two places of nothing in front."""
    width, inf = labels.shape[1], x.dtype.type(np.inf)
    least = x.dtype.type(-1e30)
    before, now = np.full(width + 2, -inf), np.full(width, -inf)
    for n in range(begin, end):
        for s in range(width + 2):
            before[s] = -inf
        for t in range(alpha.shape[1]):
            if t < steps[n]:
                row, label, skip = x[t, n], labels[n], skips[n]
                if t == 0:
                    for s in range(width):
                        now[s] = x.dtype.type(0) if s < 2 else -inf
                else:
                    for s in range(width):
                        now[s] = _log_of_three(before[s + 2], before[s + 1], before[s] + skip[s], least)
                for s in range(width):
                    before[s + 2] = now[s] + row[label[s]]
            for s in range(width):
                alpha[n, t, s] = before[s + 2]
        last = 2 * lengths[n]
        if steps[n] == 0:
            total[n] = x.dtype.type(0) if last == 0 else -inf
        else:
            total[n] = _log_of_three(before[last + 2], before[last + 1] if last > 0 else -inf, -inf, least)


@kernel(
    "T[:, :, ::1], const T[::1], const T[:, :, ::1], const int64[:, ::1], const int64[::1], const int64[::1], "
    "const T[::1], const T[:, :, ::1], const T[:, ::1]", T=("float32", "float64"),
)  # fmt: skip
def _backward(
    begin: int, end: int, gx: Array, g: Array, x: Array, labels: Array, steps: Array, lengths: Array, total: Array,
    alpha: Array, skips: Array,
) -> None:  # fmt: skip
    """Samples begin to end. `after` has two places of nothing behind."""
    width, inf = labels.shape[1], x.dtype.type(np.inf)
    least, zero = x.dtype.type(-1e30), x.dtype.type(0)
    beta, after, skipped = np.full(width, -inf), np.full(width + 2, -inf), np.full(width + 2, -inf)
    for n in range(begin, end):
        last, count = 2 * lengths[n], min(steps[n], len(gx))
        label, skip = labels[n], skips[n]
        for t in range(len(gx)):
            for c in range(gx.shape[2]):
                gx[t, n, c] = zero
        for s in range(width):
            beta[s] = zero if s == last or s == last - 1 else -inf
        for back in range(count if g[n] != zero else 0):
            t = count - 1 - back
            if back > 0:
                row = x[t + 1, n]
                for s in range(width):
                    after[s] = beta[s] + row[label[s]]
                    skipped[s] = after[s] + skip[s]
                for s in range(width):
                    beta[s] = _log_of_three(after[s], after[s + 1], skipped[s + 2], least)
            so_far = alpha[n, t]
            for s in range(width):
                gx[t, n, label[s]] += g[n] * exp(so_far[s] + beta[s] - total[n])


def ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0,
    reduction: str = "mean", zero_infinity: bool = False,
) -> Tensor:  # fmt: skip
    """Minus the logarithm of the probability of `targets`, averaged.

    Args:
        log_probs: (T, N, C) or (T, C), logarithms of probabilities.
        targets: (N, S) classes without blanks, or all of them one behind the other.
        input_lengths, target_lengths: (N,), how much of each counts.
        blank: the class that stands for no label.
        reduction: "mean" divides each loss by its target's length first; "sum" or "none".
        zero_infinity: count a target that is longer than its input allows as zero, not as infinity.

    Raises:
        ShapeError, ArgumentError: if lengths do not fit.

    Source: Graves et al., ICML 2006.
    """
    single = log_probs.ndim == 2
    if log_probs.ndim not in (2, 3):
        raise ShapeError(f"ctc_loss: log_probs must be (T, N, C) or (T, C), got {log_probs.shape}")
    x = unsqueeze(log_probs, 1) if single else log_probs
    times, batch, classes = x.shape
    steps, lengths = (_lengths(v, batch, name) for v, name in
                      ((input_lengths, "input_lengths"), (target_lengths, "target_lengths")))  # fmt: skip
    if not 0 <= blank < classes:
        raise ArgumentError(f"ctc_loss: blank must be a class from 0 to {classes - 1}, got {blank}")
    if max(steps, default=0) > times:
        raise ShapeError(f"ctc_loss: input_lengths reach {max(steps)}, but there are {times} steps")
    labels = _extended(targets, lengths, batch, blank)
    if labels.min() < 0 or labels.max() >= classes:
        raise ShapeError(
            f"ctc_loss: targets must be classes from 0 to {classes - 1}, got {labels.min()} to {labels.max()}"
        )
    xp = x.device.xp
    total, _ = Ctc.apply(x, *[Tensor.of(xp.asarray(a, np.int64)) for a in (labels, steps, lengths)], blank=blank)
    loss = -total
    if zero_infinity:
        loss = where(loss == math.inf, 0.0, loss)
    if reduction == "mean":
        return mean(loss / Tensor.of(loss.device.xp.asarray(np.maximum(lengths, 1), loss.dtype)))
    if reduction == "sum":
        return sum_(loss)
    if reduction != "none":
        raise ArgumentError(f"ctc_loss: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    return reshape(loss, ()) if single else loss


def _lengths(given: Any, batch: int, name: str) -> list[int]:
    values = [int(n) for n in np.ravel(given.cpu().array if isinstance(given, Tensor) else np.asarray(given))]
    if len(values) != batch or min(values, default=0) < 0:
        raise ShapeError(f"ctc_loss: {name} must be {batch} numbers from 0 up, got {values}")
    return values


def _extended(targets: Tensor, lengths: list[int], batch: int, blank: int) -> Any:
    """(N, 2 S + 1): the labels with blanks around each."""
    values = targets.cpu().array
    longest = max(lengths, default=0)
    labels = np.full((batch, 2 * longest + 1), blank, np.int64)
    start = 0
    flat = values.ndim == 1 and not (batch == 1 and values.shape[0] != sum(lengths))
    if (flat and values.shape[0] != sum(lengths)) or (values.ndim == 2 and values.shape[0] != batch):
        raise ShapeError(f"ctc_loss: targets {values.shape} do not hold {batch} rows of lengths {lengths}")
    for n, length in enumerate(lengths):
        row = values[start : start + length] if flat else np.atleast_2d(values)[n, :length]
        if len(row) < length:
            raise ShapeError(f"ctc_loss: targets {values.shape} have no row of {length} labels")
        labels[n, 1 : 2 * length : 2] = row
        start += length
    return labels


def _log_likelihood(x: Tensor, labels: Array, steps: Array, lengths: Array, blank: int) -> Tensor:
    """log p(labels | x) of each sample in ops."""
    xp, (times, batch, _) = x.device.xp, x.shape
    width = labels.shape[1]
    emitted = gather(x, 2, expand(Tensor.of(labels), (times, batch, width)))
    may_skip = Tensor.of(_skips(xp, labels, blank, x.dtype) == 0)
    nothing = Tensor.of(xp.full((batch, 2), -math.inf, x.dtype))
    begins = Tensor.of(xp.arange(width) < 2)
    alpha = where(begins, select(emitted, 0, 0), -math.inf) if times else where(begins, 0.0, -math.inf)
    ends = Tensor.of(steps.reshape(-1, 1))
    for t in range(1, times):
        padded = cat([nothing, alpha], 1)
        reached = logaddexp(alpha, narrow(padded, 1, 1, width))
        reached = logaddexp(reached, where(may_skip, narrow(padded, 1, 0, width), -math.inf))
        alpha = where(ends > t, reached + select(emitted, 0, t), alpha)
    last = (2 * lengths).reshape(-1, 1)
    full = gather(alpha, 1, Tensor.of(last))
    label = where(Tensor.of(last > 0), gather(alpha, 1, Tensor.of(xp.maximum(last - 1, 0))), -math.inf)
    total = reshape(logaddexp(full, label), batch)
    silent = Tensor.of(xp.where(lengths == 0, 0.0, -math.inf).astype(x.dtype))
    return where(Tensor.of(steps == 0), silent, total)
