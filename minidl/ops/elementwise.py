"""What the houses of element-wise ops share: shape rules, and the public function made from a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.core import Op, Spec, Tensor, as_tensor
from minidl.device.dtypes import as_float, promote
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


class Unary(Op):
    """One array in, one of the same shape and type out."""

    @staticmethod
    def infer(x: Spec, **params: Any) -> Spec:
        return x


class FloatUnary(Unary):
    """One array in, one floating array out: integers become float32."""

    @staticmethod
    def infer(x: Spec, **params: Any) -> Spec:
        return x.with_dtype(as_float(x.dtype))


def quiet() -> np.errstate:
    """No warning for log(0) and the like: -inf, inf and NaN are the answers. CuPy never warns and needs no switch."""
    return np.errstate(all="ignore")


def unary_function(op: type[Op]) -> Callable[[Any], Tensor]:
    """The public function of a one-input row."""

    def function(input: Any) -> Tensor:
        result: Tensor = op.apply(as_tensor(input))
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

    @classmethod
    def __init_subclass__(cls) -> None:
        if "infer" not in cls.__dict__:
            cls.infer = staticmethod(cls._rule())
        super().__init_subclass__()

    @classmethod
    def _rule(cls) -> Callable[..., Spec]:
        def infer(x: Spec, y: Spec) -> Spec:
            return Spec(broadcast(cls.name, x, y), promote(x.dtype, y.dtype))

        return infer


def binary_function(op: type[Op]) -> Callable[[Any, Any], Tensor]:
    """The public function of a two-input row."""

    def function(input: Any, other: Any) -> Tensor:
        result: Tensor = op.apply(*pair(input, other))
        return result

    function.__name__ = function.__qualname__ = op.name
    function.__doc__, function.__module__ = op.__doc__, op.__module__
    return function
