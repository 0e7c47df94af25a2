"""A kernel beside the reference of its op: right, and how fast."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.core import Array, Kernel, Op, Spec, Tensor, registry, use_kernel
from minidl.core.way import select_kernel
from minidl.device import CPU, empty, poisoned_memory
from minidl.device.dtypes import is_floating
from minidl.errors import KernelError

__all__ = ["KernelReport", "check_kernel"]


@dataclass(frozen=True)
class KernelReport:
    """What `check_kernel` found: the largest error, and how fast the kernel is beside the reference."""

    op: str
    max_error: float
    tolerance: float
    seconds: float
    reference_seconds: float

    @property
    def speedup(self) -> float:
        return self.reference_seconds / self.seconds

    def __str__(self) -> str:
        return (
            f"{self.op}: right within {self.tolerance:.1e} (largest error {self.max_error:.1e}), "
            f"{self.speedup:.2f} times as fast as the reference"
        )


def check_kernel(
    op: str, kernel: Kernel, inputs: Sequence[Any], /, *, rtol: float | None = None, repeats: int = 5, **params: Any
) -> KernelReport:
    """Prove `kernel(out, *inputs, **params)` against the reference of `op`, and time both.

    The result's memory is filled with NaN first, so a kernel that leaves gaps is found out; so is one that changes an
    input. The tolerance is relative to the largest value of the result: 1e-5 for float32, 1e-12 for float64.

    Args:
        op: name of the op, such as "matmul".
        inputs: arrays or tensors, as the op takes them.
        params: the op's parameters, as the op takes them (`minidl.core.launching` shows them).

    Raises:
        KernelError: if the kernel disagrees, leaves gaps or changes an input; the sentence says where.

    >>> import minidl
    >>> def slow_relu(out, x):
    ...     for i in range(x.size):
    ...         out.flat[i] = max(x.flat[i], 0)
    >>> minidl.testing.check_kernel("relu", slow_relu, [minidl.randn(3, 4)]).max_error
    0.0
    """
    room = registry.find_op(op)
    arrays = tuple(x.array if isinstance(x, Tensor) else np.asarray(x) for x in inputs)
    specs = room.infer(*[Spec(a.shape, a.dtype) for a in arrays], **params)
    several = type(specs) is tuple
    with use_kernel(op, functools.partial(room.reference, np)):
        expected, reference_seconds = _timed(room, specs, arrays, params, repeats)
    before = [a.copy() for a in arrays]
    with use_kernel(op, kernel):
        given, seconds = _timed(room, specs, arrays, params, repeats)
    for position, (old, new) in enumerate(zip(before, arrays, strict=True)):
        if not np.array_equal(old, new, equal_nan=is_floating(old.dtype)):
            raise KernelError(f"{op}: the kernel changed its input number {position}; it may only write to out")
    errors = []
    for ours, right in zip(given if several else (given,), expected if several else (expected,), strict=True):
        tolerance = (1e-5 if right.dtype == np.float32 else 1e-12) if rtol is None else rtol
        errors.append((_compare(op, ours, right, tolerance), tolerance))
    worst, tolerance = max(errors)
    return KernelReport(op, worst, tolerance, seconds, reference_seconds)


def _timed(
    room: type[Op], specs: Any, arrays: tuple[Array, ...], params: dict[str, Any], repeats: int
) -> tuple[Any, float]:
    """The result of the chosen kernel in poisoned memory, and its best time in seconds."""
    kernel = select_kernel(room, CPU, arrays, params)
    with poisoned_memory():
        out = tuple(empty(CPU, *s) for s in specs) if type(specs) is tuple else empty(CPU, *specs)
    best = math.inf
    for _ in range(repeats):
        start = time.perf_counter()
        kernel(out, *arrays, **params)
        best = min(best, time.perf_counter() - start)
    return out, best


def _compare(op: str, given: Array, expected: Array, tolerance: float) -> float:
    """The largest error relative to the largest expected value."""
    if not given.size:
        return 0.0
    if not np.array_equal(np.isnan(given), np.isnan(expected)):
        place = np.unravel_index(int(np.argmax(np.isnan(given) != np.isnan(expected))), given.shape)
        raise KernelError(
            f"{op}: the kernel and the reference differ in NaN at {_plain(place)}; was all of out written?"
        )
    difference = np.nan_to_num(np.abs(given.astype(np.float64) - expected.astype(np.float64)))
    scale = float(np.nanmax(np.abs(expected), initial=0.0)) or 1.0
    place = np.unravel_index(int(np.argmax(difference)), given.shape)
    error = float(difference[place]) / scale
    if error > tolerance:
        raise KernelError(
            f"{op}: at {_plain(place)} the kernel gives {given[place]:.8g}, the reference {expected[place]:.8g}; "
            f"error {error:.1e} of the largest value, {tolerance:.1e} allowed"
        )
    return error


def _plain(place: Sequence[Any]) -> tuple[int, ...]:
    return tuple(int(i) for i in place)
