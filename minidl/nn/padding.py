"""Padding layers: a border around the last one, two or three dimensions. One class for each kind and number of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from minidl.core import Tensor
from minidl.errors import ShapeError
from minidl.nn import functional as F
from minidl.nn.module import Module
from minidl.ops.windows import sizes

__all__ = [
    "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d", "ConstantPad3d",
    "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d", "ReplicationPad2d",
    "ReplicationPad3d", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]  # fmt: skip


class _Pad(Module):
    """Add a border.

    Args:
        padding: elements for every side; or (before, after) the last dimension, then the one before it, and so on.
    """

    dims: ClassVar[int]
    mode: ClassVar[str]
    value: float = 0.0

    def __init__(self, padding: int | Sequence[int]) -> None:
        self.padding = sizes(type(self).__name__, "padding", padding, 2 * self.dims, least=-(2**62))

    def forward(self, input: Tensor) -> Tensor:
        if self.mode != "constant" and input.ndim not in (self.dims + 1, self.dims + 2):
            ranks = f"{self.dims + 1} or {self.dims + 2}"
            raise ShapeError(f"{type(self).__name__}: input must have {ranks} dimensions, got {input.shape}")
        return F.pad(input, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    mode = "constant"

    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


def _layer(name: str, base: type[_Pad], dims: int, mode: str, what: str) -> Any:
    takes = "(..., " + ", ".join("DHW"[3 - dims :] if dims > 1 else "L") + ")"
    doc = f"A border {what} around the last {dims} dimension{'s'[: dims > 1]}. Maps {takes} to the padded shape."
    return type(name, (base,), {"dims": dims, "mode": mode, "__doc__": doc, "__module__": __name__})


ConstantPad1d, ConstantPad2d, ConstantPad3d = (
    _layer(f"ConstantPad{d}d", _ConstantPad, d, "constant", "of one value") for d in (1, 2, 3)
)
ZeroPad1d, ZeroPad2d, ZeroPad3d = (_layer(f"ZeroPad{d}d", _Pad, d, "constant", "of zeros") for d in (1, 2, 3))
ReflectionPad1d, ReflectionPad2d, ReflectionPad3d = (
    _layer(f"ReflectionPad{d}d", _Pad, d, "reflect", "mirrored at the edge") for d in (1, 2, 3)
)
ReplicationPad1d, ReplicationPad2d, ReplicationPad3d = (
    _layer(f"ReplicationPad{d}d", _Pad, d, "replicate", "that repeats the edge") for d in (1, 2, 3)
)
CircularPad1d, CircularPad2d, CircularPad3d = (
    _layer(f"CircularPad{d}d", _Pad, d, "circular", "taken from the other end") for d in (1, 2, 3)
)
