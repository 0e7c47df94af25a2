"""All weights of a net as one vector, and back: for methods that know of no layers."""

from __future__ import annotations

from collections.abc import Iterable

from minidl.core import Tensor, recording
from minidl.errors import ShapeError
from minidl.ops import cat

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """The elements of all tensors, in order, as one vector (n,); gradients pass."""
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Set the tensors, in order, to the elements of `vec`; nothing is recorded.

    Raises:
        ShapeError: if `vec` is not one vector of as many elements; nothing is changed then.
    """
    given = list(parameters)
    count = sum(p.numel() for p in given)
    if vec.shape != (count,):
        raise ShapeError(
            f"vector_to_parameters: vec must be ({count},), as many as the parameters have, got {vec.shape}"
        )
    with recording(False):
        at = 0
        for p in given:
            p.copy_(vec[at : at + p.numel()].reshape(p.shape))
            at += p.numel()
