"""Arithmetic on the bits of whole numbers and bools; no gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl.core import Array, Spec, Tensor
from minidl.errors import DTypeError
from minidl.ops.compare import Compare
from minidl.ops.elementwise import binary_function, broadcast, common_dtype, unary_function

__all__ = [
    "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
]  # fmt: skip


def _whole(name: str, *specs: Spec, bools: bool) -> None:
    for spec in specs:
        if spec.dtype.kind not in ("iub" if bools else "iu"):
            raise DTypeError(f"{name}: takes whole numbers{' and bools' if bools else ''}, got {spec.dtype}")


def _on_bits(name: str, ufunc: str, doc: str, *, bools: bool = True) -> Callable[[Any, Any], Tensor]:
    def infer(x: Spec, y: Spec) -> Spec:
        _whole(name, x, y, bools=bools)
        return Spec(broadcast(name, x, y), common_dtype(x, y))

    def reference(xp: Any, out: Array, x: Array, y: Array) -> None:
        getattr(xp, ufunc)(x.astype(out.dtype, copy=False), y.astype(out.dtype, copy=False), out=out)

    rules = {"name": name, "infer": staticmethod(infer), "reference": staticmethod(reference), "__doc__": doc}
    return binary_function(type(name, (Compare,), {**rules, "__module__": __name__}))


class BitwiseNot(Compare):
    """Every bit turned over; of bools the opposite."""

    name = "bitwise_not"

    @staticmethod
    def infer(x: Spec) -> Spec:
        _whole("bitwise_not", x, bools=True)
        return x

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        xp.invert(x, out=out)


bitwise_not = unary_function(BitwiseNot)
bitwise_and = _on_bits("bitwise_and", "bitwise_and", "The bits that are set in both.")
bitwise_or = _on_bits("bitwise_or", "bitwise_or", "The bits that are set in one of the two.")
bitwise_xor = _on_bits("bitwise_xor", "bitwise_xor", "The bits that differ.")
bitwise_left_shift = _on_bits("bitwise_left_shift", "left_shift", "input times 2^other.", bools=False)
bitwise_right_shift = _on_bits(
    "bitwise_right_shift", "right_shift", "input divided by 2^other, rounded down.", bools=False
)
