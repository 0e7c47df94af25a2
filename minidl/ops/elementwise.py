"""What the houses of element-wise ops share: shape rules, and the public function made from a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor, as_tensor
from minidl.device.dtypes import DType, as_float, beside, is_floating, promote
from minidl.errors import ShapeError


def broadcast(name: str, *specs: Spec) -> tuple[int, ...]:
    """The shape that the inputs of op `name` broadcast to.

    Raises:
        ShapeError: if they do not.
    """
    try:
        return np.broadcast_shapes(*[s.shape for s in specs])
    except ValueError:
        shapes = " and ".join(str(s.shape) for s in specs)
        raise ShapeError(
            f"{name}: shapes {shapes} do not broadcast; aligned at the right, lengths must be equal or 1"
        ) from None


def common_dtype(x: Spec, y: Spec) -> DType:
    """The element type of what two tensors give; a single number (no dimensions) keeps to the type of the other."""
    if bool(x.shape) == bool(y.shape):
        return promote(x.dtype, y.dtype)
    return beside(x.dtype, y.dtype) if x.shape else beside(y.dtype, x.dtype)


class Unary(Op):
    """One array in, one of the same shape and type out."""

    elementwise = True
    least: ClassVar[int] = 0  # smaller arrays go to NumPy; only for formulas that round once, so with the same bits

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and arrays[0].size >= cls.least

    @staticmethod
    def infer(x: Spec, **params: Any) -> Spec:
        return x


class FloatUnary(Unary):
    """One array in, one floating array out: integers become float32."""

    @staticmethod
    def infer(x: Spec, **params: Any) -> Spec:
        return x.with_dtype(as_float(x.dtype))


class Slope(Op):
    """g times the derivative of a function, at each place; a row has the formula in terms of x or of its result."""

    saves = ("g", "at")
    elementwise = True
    least: ClassVar[int] = 0
    # (at, **params) -> the derivative of the derivative by what was saved, in ops; None where it is zero.
    bend: ClassVar[Callable[..., Tensor] | None] = None

    @staticmethod
    def infer(g: Spec, at: Spec, **params: Any) -> Spec:
        return g

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        g, at = arrays
        return super().cpu_takes(arrays, params) and g.dtype == at.dtype and g.size >= cls.least

    @classmethod
    def cuda_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        g, at = arrays
        return super().cuda_takes(arrays, params) and g.dtype == at.dtype

    @classmethod
    def vjp(cls, node: Node, g: Tensor) -> Grads:
        inner, at = node.saved
        across = g * inner * cls.bend(at, **node.params) if cls.bend is not None and node.needs[1] else None
        return cls.apply(g, at, **node.params), across


def quiet() -> np.errstate:
    """No warning for log(0) and the like: -inf, inf and NaN are the answers. CuPy never warns and needs no switch."""
    return np.errstate(all="ignore")


def float_of(x: Tensor) -> Tensor:
    """`x` in a floating type: of bools and small integers NumPy would compute in float16."""
    return x if is_floating(x.dtype) else x.to(as_float(x.dtype))


def unary_function(op: type[Op]) -> Callable[[Any], Tensor]:
    """The public function of a one-input row."""
    floats = issubclass(op, FloatUnary)

    def function(input: Any) -> Tensor:
        x = input if isinstance(input, Tensor) else as_tensor(input)
        result: Tensor = op.apply(float_of(x) if floats else x)
        return result

    function.__name__ = function.__qualname__ = op.name
    function.__doc__, function.__module__ = op.__doc__, op.__module__
    return function


def pair(input: Any, other: Any) -> tuple[Tensor, Tensor]:
    """Both operands as tensors; a Python number takes the type of the other one."""
    if isinstance(input, Tensor):
        return input, as_tensor(other, like=input)
    return (as_tensor(input, like=other), other) if isinstance(other, Tensor) else (as_tensor(input), as_tensor(other))


class Binary(Op):
    """Two arrays that broadcast against each other in, one out."""

    elementwise = True
    least: ClassVar[int] = 0

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        x, y = arrays
        if x.dtype != y.dtype or not super().cpu_takes(arrays, params):
            return False
        if x.shape != y.shape and not (x.size and y.size):
            return False
        return math.prod(np.broadcast_shapes(x.shape, y.shape)) >= cls.least

    @classmethod
    def computes_in(cls, *specs: Spec) -> tuple[DType, ...]:
        """A single number comes in the type of the tensor beside it, unless that cannot hold its kind."""
        types = super().computes_in(*specs)
        if bool(specs[0].shape) == bool(specs[1].shape):
            return types
        whole, single = types if specs[0].shape else types[::-1]
        return (whole, whole) if beside(whole, single) == whole else types

    @classmethod
    def __init_subclass__(cls) -> None:
        if "infer" not in cls.__dict__:
            cls.infer = staticmethod(cls._rule())
        super().__init_subclass__()

    @classmethod
    def _rule(cls) -> Callable[..., Spec]:
        def infer(x: Spec, y: Spec) -> Spec:
            return Spec(broadcast(cls.name, x, y), common_dtype(x, y))

        return infer


def binary_function(op: type[Op]) -> Callable[[Any, Any], Tensor]:
    """The public function of a two-input row."""

    def function(input: Any, other: Any) -> Tensor:
        result: Tensor = op.apply(*pair(input, other))
        return result

    function.__name__ = function.__qualname__ = op.name
    function.__doc__, function.__module__ = op.__doc__, op.__module__
    return function


def smooth(
    name: str, doc: str, formula: Callable[[Any, Array], Array], *,
    slope: Callable[[Tensor], Any] | None = None, slope_of_result: Callable[[Tensor], Any] | None = None,
) -> Callable[[Any], Tensor]:  # fmt: skip
    """The public function of a floating row, made of its formula and its derivative.

    Args:
        formula: (xp, x) to the result, on arrays.
        slope: the derivative as a function of the input, in ops.
        slope_of_result: the same as a function of the result, where that is simpler.
    """

    def reference(xp: Any, out: Array, x: Array) -> None:
        with quiet():
            out[...] = formula(xp, x)

    def vjp(node: Node, g: Tensor) -> Grads:
        (kept,) = node.saved
        derivative: Any = slope or slope_of_result
        return (g * derivative(kept),)

    rules = {
        "name": name, "saves": ("x",) if slope else ("out",), "reference": staticmethod(reference),
        "vjp": staticmethod(vjp), "__doc__": doc, "__module__": formula.__module__,
    }  # fmt: skip
    return unary_function(type(name, (FloatUnary,), rules))


def smooth_pair(
    name: str, doc: str, formula: Callable[[Any, Array, Array], Array],
    slopes: tuple[Callable[[Tensor, Tensor], Any], Callable[[Tensor, Tensor], Any]], *, floats: bool = True,
) -> Callable[[Any, Any], Tensor]:  # fmt: skip
    """The public function of a row of two inputs, made of its formula and its two partial derivatives.

    Args:
        formula: (xp, x, y) to the result, on arrays.
        slopes: the derivatives by x and by y, as functions of both, in ops.
        floats: integers are made floating first.
    """

    def infer(x: Spec, y: Spec) -> Spec:
        dtype = common_dtype(x, y)
        return Spec(broadcast(name, x, y), as_float(dtype) if floats else dtype)

    def reference(xp: Any, out: Array, x: Array, y: Array) -> None:
        with quiet():
            out[...] = formula(xp, x.astype(out.dtype, copy=False), y.astype(out.dtype, copy=False))

    def vjp(node: Node, g: Tensor) -> Grads:
        x, y = node.saved
        return tuple(g * slope(x, y) if needed else None for slope, needed in zip(slopes, node.needs, strict=True))

    rules = {
        "name": name, "saves": ("x", "y"), "infer": staticmethod(infer), "reference": staticmethod(reference),
        "vjp": staticmethod(vjp), "__doc__": doc, "__module__": formula.__module__,
    }  # fmt: skip
    return binary_function(type(name, (Op,), rules))
