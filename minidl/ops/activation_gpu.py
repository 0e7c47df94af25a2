"""Activations and their slopes by the CUDA kernels of `activations.cuh`: what their rows have for a `cuda`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl.core import Array
from minidl.device import CudaKernels

CUDA = CudaKernels(__file__, "activations.cuh")
# Their numbers in activation.cuh.
KINDS = {
    name: number
    for number, name in enumerate(
        ("none", "relu", "leaky_relu", "clamp", "elu", "silu", "gelu", "gelu_tanh", "hardswish")
    )
}


def activated(name: str, level: str | None = None) -> Callable[..., None]:
    """The activation `name`, with the parameter `level` of its op."""

    def cuda(out: Array, x: Array, **params: Any) -> None:
        CUDA.launch("activate", out.size, out, x, KINDS[name], float(params[level]) if level else 0.0)

    return cuda


def held_back(name: str, level: str | None = None) -> Callable[..., None]:
    """g times the slope of the activation `name`, told by what it was given, or by the result of relu."""

    def cuda(out: Array, g: Array, at: Array, **params: Any) -> None:
        CUDA.launch("hold_back", out.size, out, g, at, KINDS[name], float(params[level]) if level else 0.0)

    return cuda
