"""The full Jacobian of a function: by backward, by differences, and by forward mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from minidl.autograd import functional, grad
from minidl.core import Array, Tensor, recording
from minidl.errors import GradError
from minidl.testing.gradient import gradient_of
from minidl.testing.outcome import as_tuple

__all__ = ["check_forward_mode", "check_jacobian"]

Function = Callable[..., Any]


def check_jacobian(
    function: Function, *inputs: Tensor, rtol: float = 1e-6, atol: float = 1e-8, step: float = 1e-3, order: int = 1
) -> None:
    """Compare every element of the Jacobian that backward gives with Richardson differences, in float64.

    `check_gradient` asks along three random directions, which is enough to find a fault. This asks for each result and
    each input alone, so it says which element is wrong, and an error among large terms cannot hide. It takes a
    backward pass for each number of the results and four forward passes for each number of the inputs.

    Args:
        function: takes the tensors, gives one tensor or a tuple of them.
        inputs: float64 tensors are differentiated, all others are held fixed.
        order: 2 checks the Jacobian of the gradient too.

    Raises:
        GradError: naming the result, the input, what backward gave and what was expected.

    >>> import minidl
    >>> check_jacobian(minidl.tanh, *minidl.testing.draw([(2, 3)]), order=2)
    """
    given, expected = _by_backward(function, inputs), _by_differences(function, inputs, step)
    # Elements that cancel leave rounding errors of the size of the others in the row, so 1 % of these counts as well.
    size = np.maximum(np.abs(expected), np.abs(expected).max(1, keepdims=True, initial=0.0) / 100)
    wrong = ~(np.abs(given - expected) <= atol + rtol * size)
    if wrong.any():
        row, column = (int(i) for i in np.unravel_index(int(np.argmax(wrong)), wrong.shape))
        raise GradError(
            f"the derivative of element {row} of the results by element {column} of the inputs: backward gives "
            f"{given[row, column]:.9g}, differences {expected[row, column]:.9g}; {int(wrong.sum())} of {wrong.size} "
            f"elements of the Jacobian are wrong"
        )
    if order > 1:
        check_jacobian(gradient_of(function), *inputs, rtol=10 * rtol, atol=10 * atol, step=step, order=order - 1)


def check_forward_mode(function: Function, *inputs: Tensor, rtol: float = 1e-9) -> None:
    """Compare J v by forward mode with uᵀ J by backward: u · (J v) and (uᵀ J) · v are one number.

    Forward mode is the derivative of backward by the gradient that it starts with, so this also finds a backward that
    is not linear in that gradient. Needs a function that can be differentiated twice.

    Raises:
        GradError: naming the two numbers.
    """
    moved = [i for i, x in enumerate(inputs) if x.dtype == np.float64]
    rng = np.random.default_rng(5)
    along = tuple(Tensor.of(rng.standard_normal(inputs[i].shape)) for i in moved)

    def floats(*tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(r for r in as_tuple(function(*_placed(inputs, moved, tensors))) if r.dtype == np.float64)

    at = tuple(inputs[i] for i in moved)
    values, pushed = functional.jvp(floats, at, along)
    across = tuple(Tensor.of(rng.standard_normal(v.shape)) for v in values)
    _, pulled = functional.vjp(floats, at, across)
    forward, forward_size = _product(across, as_tuple(pushed))
    backward, backward_size = _product(as_tuple(pulled), along)
    if not abs(forward - backward) <= rtol * max(forward_size, backward_size, 1.0):
        raise GradError(f"forward mode gives {forward:.12g} for u · J v, backward gives {backward:.12g} for uᵀ J · v")


def _product(a: Sequence[Tensor], b: Sequence[Tensor]) -> tuple[float, float]:
    """The inner product, and the sum of the sizes of its terms."""
    terms = [x.array * y.array for x, y in zip(a, b, strict=True)]
    return float(sum(t.sum() for t in terms)), float(sum(np.abs(t).sum() for t in terms))


def _placed(inputs: Sequence[Tensor], places: Sequence[int], tensors: Sequence[Tensor]) -> list[Tensor]:
    """`inputs`, with `tensors` in these places."""
    new = dict(zip(places, tensors, strict=True))
    return [new.get(i, x) for i, x in enumerate(inputs)]


def _by_backward(function: Function, inputs: Sequence[Tensor]) -> Array:
    """The Jacobian, a row for each number of the results, from a backward pass for each."""
    leaves = [x.detach().clone().requires_grad_() if x.dtype == np.float64 else x for x in inputs]
    moved = [x for x in leaves if x.dtype == np.float64]
    width = sum(x.array.size for x in moved)
    with recording(True):
        results = [r for r in as_tuple(function(*leaves)) if r.dtype == np.float64]
        rows = [_row(result, weight, moved) for result in results for weight in _unit_weights(result)]
    return np.array(rows).reshape(-1, width)


def _unit_weights(result: Tensor) -> Iterator[Tensor]:
    """One at each place in turn, zero elsewhere."""
    for place in range(result.array.size):
        weight = np.zeros(result.shape)
        weight.reshape(-1)[place] = 1.0
        yield Tensor.of(weight)


def _row(result: Tensor, weight: Tensor, moved: Sequence[Tensor]) -> Array:
    if not result.requires_grad:  # the gradient of a linear function is constant, and not on the tape
        return np.zeros(sum(x.array.size for x in moved))
    found = grad(result, moved, weight, retain_graph=True, allow_unused=True)
    parts = [np.zeros(x.shape) if g is None else g.array for g, x in zip(found, moved, strict=True)]
    return np.concatenate([p.reshape(-1) for p in parts])


def _by_differences(function: Function, inputs: Sequence[Tensor], step: float) -> Array:
    """The same, a column for each number of the inputs: (4 D(h/2) - D(h)) / 3 of central differences D."""
    columns = []
    for position, x in enumerate(inputs):
        if x.dtype != np.float64:
            continue
        for place in range(x.array.size):
            coarse, fine = (_difference(function, inputs, position, place, h) for h in (step, step / 2))
            columns.append((4 * fine - coarse) / 3)
    return np.array(columns).T.reshape(-1, len(columns)) if columns else np.zeros((0, 0))


def _difference(function: Function, inputs: Sequence[Tensor], position: int, place: int, h: float) -> Array:
    def at(t: float) -> Array:
        moved = inputs[position].array.copy(order="C")
        moved.reshape(-1)[place] += t
        with recording(False):
            results = as_tuple(function(*_placed(inputs, [position], [Tensor.of(moved)])))
        return np.concatenate([r.array.reshape(-1) for r in results if r.dtype == np.float64])

    return (at(h) - at(-h)) / (2 * h)
