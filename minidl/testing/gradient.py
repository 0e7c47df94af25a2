"""The gradient of a function against Richardson differences, along random directions."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.core import Array, Tensor, recording
from minidl.errors import GradError

__all__ = ["check_gradient", "gradient_of"]

Function = Callable[..., Any]


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
        check_gradient(gradient_of(function), *inputs, rtol=10 * rtol, atol=10 * atol, step=step, order=order - 1)


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


def gradient_of(function: Function) -> Function:
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
