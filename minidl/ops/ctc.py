"""ctc_loss: the probability of a label sequence that was not aligned with the input, summed over all alignments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.core import Tensor
from minidl.errors import ArgumentError, ShapeError
from minidl.ops.concat import cat
from minidl.ops.exponents import logaddexp
from minidl.ops.indexing import gather
from minidl.ops.reduce import mean
from minidl.ops.reduce import sum as sum_
from minidl.ops.views import expand, narrow, reshape, select, unsqueeze
from minidl.ops.where import where

__all__ = ["ctc_loss"]


def ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0,
    reduction: str = "mean", zero_infinity: bool = False,
) -> Tensor:  # fmt: skip
    """Minus the logarithm of the probability of `targets`, averaged.

    The forward recursion over the labels with blanks between them, in logarithms; one step of ops for each time.

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
    loss = -_log_likelihood(x, labels, steps, lengths, blank)
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


def _log_likelihood(x: Tensor, labels: Any, steps: list[int], lengths: list[int], blank: int) -> Tensor:
    """log p(targets | x) of each row."""
    xp, (times, batch, _) = x.device.xp, x.shape
    width = labels.shape[1]
    emitted = gather(x, 2, expand(Tensor.of(xp.asarray(labels)), (times, batch, width)))
    skips = np.zeros(labels.shape, bool)  # a label may follow another one without the blank between, unless they equal
    skips[:, 2:] = (labels[:, 2:] != blank) & (labels[:, 2:] != labels[:, :-2])
    may_skip = Tensor.of(xp.asarray(skips))
    nothing = Tensor.of(xp.full((batch, 2), -math.inf, x.dtype))
    begins = Tensor.of(xp.arange(width) < 2)
    alpha = where(begins, select(emitted, 0, 0), -math.inf) if times else where(begins, 0.0, -math.inf)
    ends = Tensor.of(xp.asarray(np.asarray(steps)).reshape(-1, 1))
    for t in range(1, times):
        padded = cat([nothing, alpha], 1)
        reached = logaddexp(alpha, narrow(padded, 1, 1, width))
        reached = logaddexp(reached, where(may_skip, narrow(padded, 1, 0, width), -math.inf))
        alpha = where(ends > t, reached + select(emitted, 0, t), alpha)
    last = xp.asarray(2 * np.asarray(lengths, np.int64)).reshape(-1, 1)
    full = gather(alpha, 1, Tensor.of(last))
    label = where(Tensor.of(last > 0), gather(alpha, 1, Tensor.of(xp.maximum(last - 1, 0))), -math.inf)
    total = reshape(logaddexp(full, label), batch)
    empty = Tensor.of(xp.asarray(np.asarray(steps) == 0))
    silent = Tensor.of(xp.asarray(np.where(np.asarray(lengths) == 0, 0.0, -math.inf)).astype(x.dtype))
    return where(empty, silent, total)
