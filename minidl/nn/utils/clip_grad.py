"""Clipping of gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable

from minidl.core import Tensor, recording
from minidl.errors import ArgumentError, GradError

__all__ = ["clip_grad_norm_", "clip_grad_value_"]


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale all gradients by one factor so that their norm, taken as one long vector, is at most `max_norm`.

    Args:
        parameters: weights after `backward`; those without a gradient are passed over.
        norm_type: p of the p-norm; `math.inf` for the largest size.
        error_if_nonfinite: raise when a gradient is NaN or infinite.

    Returns:
        The norm before clipping.

    Raises:
        GradError: for a norm that is not finite, if asked to.

    Source: Pascanu et al., ICML 2013, algorithm 1; the 1e-6 below is PyTorch's.
    """
    grads = _gradients(parameters)
    if not max_norm >= 0 or not norm_type > 0:
        raise ArgumentError(
            f"clip_grad_norm_: max_norm must be 0 or more and norm_type above 0, got {max_norm} and {norm_type}"
        )
    with recording(False):
        total = _norm([_norm([abs(g)], norm_type) for g in grads], norm_type)
        if error_if_nonfinite and not math.isfinite(total.item()):
            raise GradError("clip_grad_norm_: a gradient is NaN or infinite; lower the learning rate or find the cause")
        factor = (float(max_norm) / (total + 1e-6)).clamp(max=1.0)
        for g in grads:
            g.mul_(factor.to(g.dtype))
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Hold every element of every gradient between -clip_value and clip_value."""
    with recording(False):
        for g in _gradients(parameters):
            g.copy_(g.clamp(-float(clip_value), float(clip_value)))


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in parameters if p.grad is not None]


def _norm(sizes: list[Tensor], p: float) -> Tensor:
    """The p-norm of all elements of some tensors of non-negative numbers."""
    if not sizes:
        return Tensor(0.0)
    if math.isinf(p):
        largest = sizes[0].amax()
        for s in sizes[1:]:
            largest = largest.maximum(s.amax())
        return largest
    total = (sizes[0] ** p).sum()
    for s in sizes[1:]:
        total = total + (s**p).sum()
    return total ** (1 / p)
