"""Clipping of gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable

from minidl.core import Tensor, recording
from minidl.errors import ArgumentError, GradError
from minidl.ops.many import ClampAll, ScaleAll, sums_of_squares

__all__ = ["clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]


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
    total = _total("clip_grad_norm_", grads, norm_type, error_if_nonfinite)
    _scale("clip_grad_norm_", grads, max_norm, total)
    return total


def get_total_norm(
    tensors: Tensor | Iterable[Tensor], norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """The norm of all elements of some tensors, gradients say, taken as one long vector; arguments as above.

    Raises:
        GradError: for a norm that is not finite, if asked to.
    """
    given = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    return _total("get_total_norm", given, norm_type, error_if_nonfinite)


def clip_grads_with_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor) -> None:
    """Scale all gradients as `clip_grad_norm_` does, where their norm is known already.

    Raises:
        ArgumentError: for a negative `max_norm`.
    """
    _scale("clip_grads_with_norm_", _gradients(parameters), max_norm, total_norm)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Hold every element of every gradient between -clip_value and clip_value; NaN stays.

    Raises:
        ArgumentError: for a negative value.
    """
    if not clip_value >= 0:
        raise ArgumentError(f"clip_grad_value_: clip_value must be 0 or more, got {clip_value}")
    ClampAll.apply(_gradients(parameters), low=-float(clip_value), high=float(clip_value))


def _total(name: str, tensors: list[Tensor], norm_type: float, error_if_nonfinite: bool) -> Tensor:
    if not norm_type > 0:
        raise ArgumentError(f"{name}: norm_type must be above 0, got {norm_type}")
    with recording(False):
        total = _length(tensors) if norm_type == 2 else _norm([_norm([abs(t)], norm_type) for t in tensors], norm_type)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise GradError(f"{name}: a gradient is NaN or infinite; lower the learning rate or find the cause")
    return total


def _scale(name: str, grads: list[Tensor], max_norm: float, total: Tensor) -> None:
    if not max_norm >= 0:
        raise ArgumentError(f"{name}: max_norm must be 0 or more, got {max_norm}")
    factor = float(max_norm) / (total.item() + 1e-6)
    if not factor >= 1.0:
        ScaleAll.apply(grads, factor=factor)


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in parameters if p.grad is not None]


def _length(grads: list[Tensor]) -> Tensor:
    """The 2-norm, in the type of the first gradient."""
    if not grads:
        return Tensor(0.0)
    return sums_of_squares(grads).sum().sqrt().to(grads[0].dtype)


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
