"""Comparisons and logic: tensors in, bool tensors out, no gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl.core import Op, Spec, Tensor, as_tensor
from minidl.device.dtypes import bool_
from minidl.ops.elementwise import binary_function, broadcast, unary_function

__all__ = [
    "eq", "equal", "ge", "gt", "isfinite", "isinf", "isnan", "isneginf", "isposinf", "isreal", "le", "logical_and",
    "logical_not", "logical_or", "logical_xor", "lt", "ne", "signbit",
]  # fmt: skip


class Compare(Op):
    """Base of the rows made by `_comparison`; their results are bool and so never on the tape."""


def _comparison(name: str, ufunc: str, doc: str) -> Callable[[Any, Any], Tensor]:
    def infer(x: Spec, y: Spec) -> Spec:
        return Spec(broadcast(name, x, y), bool_)

    def reference(xp: Any, out: Any, x: Any, y: Any) -> None:
        getattr(xp, ufunc)(x, y, out=out)

    rules = {"name": name, "infer": staticmethod(infer), "reference": staticmethod(reference), "__doc__": doc}
    return binary_function(type(name, (Compare,), {**rules, "__module__": __name__}))


def _test(name: str, ufunc: str, doc: str) -> Callable[[Any], Tensor]:
    def infer(x: Spec) -> Spec:
        return x.with_dtype(bool_)

    def reference(xp: Any, out: Any, x: Any) -> None:
        getattr(xp, ufunc)(x if x.dtype.kind == "f" or ufunc == "logical_not" else x.astype(xp.float64), out=out)

    rules = {"name": name, "infer": staticmethod(infer), "reference": staticmethod(reference), "__doc__": doc}
    return unary_function(type(name, (Compare,), {**rules, "__module__": __name__}))


eq = _comparison("eq", "equal", "Whether input == other, element by element.")
ne = _comparison("ne", "not_equal", "Whether input != other, element by element.")
lt = _comparison("lt", "less", "Whether input < other, element by element.")
le = _comparison("le", "less_equal", "Whether input <= other, element by element.")
gt = _comparison("gt", "greater", "Whether input > other, element by element.")
ge = _comparison("ge", "greater_equal", "Whether input >= other, element by element.")
logical_and = _comparison("logical_and", "logical_and", "Whether both elements are true (not zero).")
logical_or = _comparison("logical_or", "logical_or", "Whether one of two elements is true (not zero).")
logical_xor = _comparison("logical_xor", "logical_xor", "Whether exactly one of two elements is true (not zero).")
logical_not = _test("logical_not", "logical_not", "Whether an element is false (zero).")
isnan = _test("isnan", "isnan", "Whether an element is NaN.")
isinf = _test("isinf", "isinf", "Whether an element is infinite.")
isfinite = _test("isfinite", "isfinite", "Whether an element is neither NaN nor infinite.")
signbit = _test("signbit", "signbit", "Whether an element is negative; of floating zeros, whether it is -0.")


def isposinf(input: Tensor) -> Tensor:
    """Whether an element is +inf."""
    return eq(input, float("inf"))


def isneginf(input: Tensor) -> Tensor:
    """Whether an element is -inf."""
    return eq(input, float("-inf"))


def isreal(input: Tensor) -> Tensor:
    """Whether an element is real: all are, for there are no complex numbers here."""
    return eq(input, input) + isnan(input)


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and the same elements."""
    return input.shape == other.shape and bool(as_tensor(input == other).array.all())
