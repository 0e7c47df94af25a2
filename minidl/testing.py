"""Proof for ops and kernels: cases, gradients against Richardson differences, kernels against their reference.

Public, so that a plugin or a lab exercise is tested the way the built-in ops are.
"""

from __future__ import annotations

import functools
import math
import operator
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl.core import Array, Kernel, Op, Spec, Tensor, recording, registry, use_kernel
from minidl.core.op import select_kernel
from minidl.device import CPU, empty, poisoned_memory
from minidl.device.dtypes import is_floating
from minidl.errors import GradError, KernelError

__all__ = ["Case", "KernelReport", "check_gradient", "check_kernel", "draw"]

Function = Callable[..., Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One row of a table of op tests.

    Attributes:
        function: the public function under test.
        shapes: shapes of its tensor arguments.
        args: what follows the tensors.
        params: its keyword arguments.
        expected: the result by NumPy, from float64 arrays; None where another test compares.
        rejects: pairs of (shapes, what the error must say).
        low, high: range of the values drawn.
        order: how often it is differentiated in the check of gradients: 2, 1, or 0 for none.
        integers: positions of tensors drawn as whole numbers from 0 up to, not including, the value.
        bools: positions of tensors drawn as bools.
        names: names of the tensor arguments, where they are not the first ones.
        as_list: whether the tensors go in as one list.
    """

    function: Function
    shapes: Sequence[Shape]
    params: Mapping[str, Any] = field(default_factory=dict)
    args: Sequence[Any] = ()
    expected: Function | None = None
    rejects: Sequence[tuple[Sequence[Shape], str]] = ()
    low: float = -2.0
    high: float = 2.0
    order: int = 2
    integers: Mapping[int, int] = field(default_factory=dict)
    bools: Sequence[int] = ()
    names: Sequence[str] = ()
    as_list: bool = False

    def __str__(self) -> str:
        params = ",".join(f"{k}={v}" for k, v in self.params.items())
        return f"{self.function.__name__}{list(self.shapes)}{params}{self.args or ''}".replace(" ", "")

    def inputs(self, seed: int = 0, shapes: Sequence[Shape] | None = None, dtype: Any = np.float64) -> list[Tensor]:
        """Tensors for one call, drawn from `seed`."""
        tensors = draw(self.shapes if shapes is None else shapes, seed, low=self.low, high=self.high, dtype=dtype)
        for position, end in self.integers.items():
            whole = np.random.default_rng([seed, position]).integers(0, end, tensors[position].shape)
            tensors[position] = Tensor.of(whole)
        for position in self.bools:
            tensors[position] = Tensor.of(tensors[position].array > (self.low + self.high) / 2)
        return tensors

    def call(self, *tensors: Tensor) -> Any:
        """The function on these tensors and this row's parameters."""
        if self.as_list:
            return self.function(list(tensors), **self.params)
        if self.names:
            return self.function(**dict(zip(self.names, tensors, strict=False)), **self.params)
        return self.function(*tensors, *self.args, **self.params)


def draw(
    shapes: Sequence[Shape], seed: int = 0, *, low: float = -2.0, high: float = 2.0, dtype: Any = np.float64
) -> list[Tensor]:
    """Tensors of evenly spread random values.

    All values differ by at least 1e-3 of the range where their number allows, so that maxima have no near-ties, at
    which a difference quotient would straddle a kink.
    """
    rng = np.random.default_rng(seed)
    total = sum(int(np.prod(s)) for s in shapes)
    steps = (rng.permutation(total) + rng.uniform(0.25, 0.75, total)) / max(total, 1)
    values = low + (high - low) * steps
    ends = np.cumsum([int(np.prod(s)) for s in shapes])
    return [
        Tensor.of(np.ascontiguousarray(part, dtype=dtype).reshape(shape))
        for part, shape in zip(np.split(values, ends[:-1]), shapes, strict=True)
    ]


def check_gradient(
    function: Function, *inputs: Tensor, rtol: float = 1e-6, atol: float = 1e-8, step: float = 1e-3, order: int = 1
) -> None:
    """Compare the gradient of `function` with Richardson differences, along random directions in float64.

    Richardson's extrapolation (4 D(h/2) - D(h)) / 3 of central differences errs by order h^4, some 1e-12 here, so that
    rtol 1e-6 leaves no room for a wrong term. A wrong gradient passes a random direction with probability zero; three
    are tried.

    Args:
        function: takes the tensors, gives one tensor or a tuple of them.
        inputs: float64 tensors are differentiated, all others are held fixed.
        order: 2 checks the gradient of the gradient too.

    Raises:
        GradError: naming the direction, what backward gave and what was expected.
    """
    for seed in range(3):
        rng = np.random.default_rng(seed)
        directions = [rng.standard_normal(x.shape) if x.dtype == np.float64 else None for x in inputs]
        weighted = _weighted(function, seed)
        given, size = _backward_along(weighted, inputs, directions)
        coarse = _difference(weighted, inputs, directions, step)
        expected = (4 * _difference(weighted, inputs, directions, step / 2) - coarse) / 3
        # Terms that cancel leave rounding errors of their own size, so 1 % of it counts as well.
        if not abs(given - expected) <= atol + rtol * max(abs(expected), size / 100):
            raise GradError(
                f"check_gradient: along direction {seed} backward gives {given:.12g}, differences {expected:.12g}"
            )
    if order > 1:
        check_gradient(_gradient_of(function), *inputs, rtol=10 * rtol, atol=10 * atol, step=step, order=order - 1)


def _weighted(function: Function, seed: int) -> Callable[[Sequence[Tensor]], Tensor]:
    """One number from all floating results of `function`: their sum, each element with a random weight."""

    def total(tensors: Sequence[Tensor]) -> Tensor:
        results = function(*tensors)
        rng = np.random.default_rng([seed, 1])
        parts = [
            (r * Tensor.of(rng.standard_normal(r.shape))).sum()
            for r in (results if isinstance(results, tuple) else (results,))
            if r.dtype == np.float64
        ]
        result: Tensor = functools.reduce(operator.add, parts, Tensor.of(np.zeros(())))
        return result

    return total


def _backward_along(
    total: Callable[[Sequence[Tensor]], Tensor], inputs: Sequence[Tensor], directions: Sequence[Array | None]
) -> tuple[float, float]:
    """The derivative along `directions` by backward, and the sum of the sizes of its terms."""
    leaves = [
        x if d is None else Tensor.of(x.array.copy()).requires_grad_() for x, d in zip(inputs, directions, strict=True)
    ]
    value = total(leaves)
    if value.requires_grad:  # the gradient of a linear function is constant, and not on the tape
        value.backward()
    terms = [
        leaf.grad.array * d
        for leaf, d in zip(leaves, directions, strict=True)
        if d is not None and leaf.grad is not None
    ]
    return float(sum(t.sum() for t in terms)), float(sum(np.abs(t).sum() for t in terms))


def _difference(
    total: Callable[[Sequence[Tensor]], Tensor], inputs: Sequence[Tensor], directions: Sequence[Array | None], h: float
) -> float:
    """The central difference quotient along `directions`."""

    def at(t: float) -> float:
        with recording(False):
            moved = [x if d is None else Tensor.of(x.array + t * d) for x, d in zip(inputs, directions, strict=True)]
            return float(total(moved).item())

    return (at(h) - at(-h)) / (2 * h)


def _gradient_of(function: Function) -> Function:
    """The gradients of `function` as a function of the same inputs, itself on the tape."""

    def squared(*inputs: Tensor) -> tuple[Tensor, ...]:  # else the gradient of a linear op would be constant
        results = function(*inputs)
        return tuple(r * r for r in (results if isinstance(results, tuple) else (results,)))

    total = _weighted(squared, seed=7)

    def gradient(*inputs: Tensor) -> tuple[Tensor, ...]:
        leaves = [x if x.requires_grad or x.dtype != np.float64 else x.detach().requires_grad_() for x in inputs]
        with recording(True):
            value = total(leaves)
            if value.requires_grad:
                value.backward(create_graph=True)
        grads = []
        for leaf in leaves:
            if leaf.grad is not None:
                grads.append(leaf.grad)
                leaf.grad = None
        return tuple(grads)

    return gradient


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
