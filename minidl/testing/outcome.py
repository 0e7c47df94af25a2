"""What a call gives: its results and its gradients, as arrays that can be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minidl.core import Array, Tensor
from minidl.errors import KernelError

Function = Callable[..., Any]


class Outcome(NamedTuple):
    """The results of one call, and the gradients of its floating inputs (None where there is none)."""

    results: tuple[Array, ...]
    gradients: tuple[Array | None, ...]

    def named(self) -> list[tuple[str, Array]]:
        """Each array, and what to call it in a sentence."""
        several = len(self.results) > 1
        given = [(f"result {i}" if several else "the result", a) for i, a in enumerate(self.results)]
        return given + [(f"the gradient of input {i}", a) for i, a in enumerate(self.gradients) if a is not None]


def as_tuple(results: Any) -> tuple[Tensor, ...]:
    """The results of a call, which gives one tensor or several."""
    return tuple(results) if isinstance(results, (tuple, list)) else (results,)


def leaves_of(inputs: Sequence[Tensor]) -> list[Tensor]:
    """Leaves on the memory of `inputs`, so that a change of them shows."""
    return [Tensor.of(x.array).requires_grad_(x.is_floating_point()) for x in inputs]


def weights_for(results: Sequence[Tensor], *, whole: bool = False) -> list[Tensor]:
    """A gradient for each result to start backward with: random, or small whole numbers."""
    rng = np.random.default_rng(11)
    draws = [rng.integers(-3, 4, r.shape) if whole else rng.standard_normal(r.shape) for r in results]
    return [Tensor.of(np.asarray(d, r.dtype)) for d, r in zip(draws, results, strict=True)]


def pull_back(results: Sequence[Tensor], leaves: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Array | None]:
    """The gradients of `leaves` for these weights of the results; the graph can be walked again."""
    for leaf in leaves:
        leaf.grad = None
    for result, weight in zip(results, weights, strict=True):
        if result.requires_grad:
            result.backward(weight, retain_graph=True)
    return [None if leaf.grad is None else leaf.grad.array.copy() for leaf in leaves]


def outcome(function: Function, inputs: Sequence[Tensor], *, whole: bool = False) -> Outcome:
    """Call `function`, and walk back with fixed random weights, whatever NumPy warns of on the way."""
    leaves = leaves_of(inputs)
    with np.errstate(all="ignore"):
        results = as_tuple(function(*leaves))
        gradients = pull_back(results, leaves, weights_for(results, whole=whole))
    return Outcome(tuple(r.array.copy() for r in results), tuple(gradients))


def bits(array: Array) -> bytes:
    """The bytes of an array, in the order of its indices: equal for equal NaNs, different for 0 and -0."""
    return bytes(array.tobytes())


def require_same_bits(first: Outcome, second: Outcome, but: str) -> None:
    """Raise a sentence that says what differs and that it does `but`."""
    for (what, a), (_, b) in zip(first.named(), second.named(), strict=True):
        if bits(a) != bits(b):
            raise KernelError(f"{what} {but}: {_difference(a, b)}")


def require_close(first: Outcome, second: Outcome, but: str, rtol: float) -> None:
    """The same within `rtol` of the largest value: sums may run in another order."""
    for (what, a), (_, b) in zip(first.named(), second.named(), strict=True):
        bound = rtol * max(float(np.max(np.abs(np.nan_to_num(a)), initial=0.0)), 1.0) if a.dtype.kind == "f" else 0.0
        if a.shape != b.shape or not np.allclose(a, b, rtol=0, atol=bound, equal_nan=a.dtype.kind == "f"):
            raise KernelError(f"{what} {but}: {_difference(a, b)}")


def _difference(a: Array, b: Array) -> str:
    if a.shape != b.shape:
        return f"its shape is {a.shape} once and {b.shape} the other time"
    apart = ~((a == b) | ((a != a) & (b != b)))
    if not apart.any():
        return "in the sign of a zero or the bits of a NaN"
    place = tuple(int(i) for i in np.unravel_index(int(np.argmax(apart)), a.shape))
    return f"at {place} it is {a[place]:.8g} once and {b[place]:.8g} the other time"
