"""Forward mode: derivatives along a direction, carried from the inputs to whatever is computed from them.

Inside a `dual_level`, `make_dual` gives a tensor a tangent, and `unpack_dual` tells the tangent of a result. It is
found by two backward passes, when it is asked for: the gradient of the dual tensors, given u at the result, is linear
in u, and the derivative of that by u, weighted by the tangents, is the tangent of the result. So every op that can be
differentiated twice has a forward mode, and steps must be recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from minidl.autograd.differentiate import grad
from minidl.core import Tensor, is_recording, recording
from minidl.errors import GradError

__all__ = ["UnpackedDualTensor", "dual_level", "make_dual", "unpack_dual"]


class UnpackedDualTensor(NamedTuple):
    """A value, and its derivative along the tangents of the level; None if it does not depend on them."""

    primal: Tensor
    tangent: Tensor | None


class _Level(NamedTuple):
    """The dual tensors made so far, their tangents, and whether one of them is itself part of a graph."""

    duals: list[Tensor]
    tangents: list[Tensor]
    linked: list[bool]


_level: ContextVar[_Level | None] = ContextVar("level", default=None)


@contextmanager
def dual_level() -> Iterator[None]:
    """The block in which tensors can have tangents.

    >>> with dual_level():
    ...     x = make_dual(Tensor([1.0, 2.0]), Tensor([1.0, 10.0]))
    ...     unpack_dual(x * x).tangent
    tensor([ 2., 40.])
    """
    if _level.get() is not None:
        raise GradError("dual_level: levels cannot be nested; differentiate twice by minidl.autograd.functional.hvp")
    token = _level.set(_Level([], [], []))
    try:
        yield
    finally:
        _level.reset(token)


def make_dual(tensor: Tensor, tangent: Tensor) -> Tensor:
    """`tensor` with a tangent: the direction along which what is computed from the result will be differentiated.

    Raises:
        GradError: outside of a `dual_level`, inside of `no_grad`, or if the shapes or types differ.
    """
    level = _current("make_dual")
    if not is_recording():
        raise GradError("make_dual: steps must be recorded; leave the no_grad block")
    if tangent.spec != tensor.spec:
        raise GradError(f"make_dual: tangent must be as tensor, {tensor.shape} {tensor.dtype}, got {tangent.shape} "
                        f"{tangent.dtype}")  # fmt: skip
    linked = tensor.grad_fn is not None or tensor.requires_grad
    dual = tensor.view(tensor.shape) if linked else tensor.detach().requires_grad_()
    level.duals.append(dual)
    level.tangents.append(tangent)
    level.linked.append(linked or tangent.requires_grad)
    return dual


def unpack_dual(tensor: Tensor) -> UnpackedDualTensor:
    """The value of a tensor and its tangent."""
    level = _current("unpack_dual")
    for dual, tangent in zip(level.duals, level.tangents, strict=True):
        if dual is tensor:
            return UnpackedDualTensor(dual.detach(), tangent)
    if not level.duals or (tensor.grad_fn is None and not tensor.requires_grad):
        return UnpackedDualTensor(tensor, None)
    linked = any(level.linked)
    with recording(True):
        weight = Tensor.of(tensor.device.xp.zeros(tensor.shape, tensor.dtype)).requires_grad_()
        pulled = grad(tensor, level.duals, weight, True, True, allow_unused=True)
        live = [(g, t) for g, t in zip(pulled, level.tangents, strict=True) if g is not None and g.requires_grad]
        if not live:
            return UnpackedDualTensor(tensor if linked else tensor.detach(), None)
        (along,) = grad([g for g, _ in live], weight, [t for _, t in live], True, linked)
    return UnpackedDualTensor(tensor if linked else tensor.detach(), along)


def _current(name: str) -> _Level:
    level = _level.get()
    if level is None:
        raise GradError(f"{name}: needs a level; put it into `with minidl.autograd.forward_ad.dual_level():`")
    return level
