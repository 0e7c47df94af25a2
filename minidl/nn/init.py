"""Starting values of weights. Every function fills its tensor in place, from `generator` or the default one.

The distributions are PyTorch's, so a net starts equally well; the numbers themselves differ, for the generator does.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.core import Tensor, recording
from minidl.device import Array
from minidl.errors import ArgumentError, ShapeError
from minidl.random import Generator, default_generator

__all__ = [
    "calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_",
    "orthogonal_", "sparse_", "trunc_normal_", "uniform_", "xavier_normal_", "xavier_uniform_", "zeros_",
]  # fmt: skip

_GAINS = {
    "linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0, "conv_transpose1d": 1.0, "conv_transpose2d": 1.0,
    "conv_transpose3d": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4,
}  # fmt: skip


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """How much larger weights must be before this activation, so that signals keep their size.

    Args:
        nonlinearity: "linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu" or "selu".
        param: the negative slope of "leaky_relu", 0.01 when None.

    >>> calculate_gain("leaky_relu", 1.0)
    1.0
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        raise ArgumentError(f"calculate_gain: no gain for {nonlinearity!r}; known: leaky_relu, {', '.join(_GAINS)}")
    return _GAINS[nonlinearity]


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Numbers evenly spread over [a, b)."""
    return _fill(tensor, (generator or default_generator()).uniform(tensor.shape, a, b, tensor.dtype))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Numbers from the normal distribution."""
    return _fill(tensor, (generator or default_generator()).normal(tensor.shape, mean, std, tensor.dtype))


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Numbers from the normal distribution, none of them outside of [a, b].

    Draws again what falls outside. Where little falls inside, draws are uniform and kept with the probability that the
    density gives them. Source: Robert, "Simulation of truncated normal variables", Stat. Comput. 5 (1995), section 2.2.
    """
    if not (a < b and std > 0):
        raise ArgumentError(f"trunc_normal_: needs a < b and std > 0, got a={a}, b={b}, std={std}")
    draw = generator or default_generator()
    low, high = (a - mean) / std, (b - mean) / std
    common = 0.5 * (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) > 0.2
    peak = min(max(low, 0.0), high)
    values = np.full(tensor.numel(), np.inf)
    while (missing := np.flatnonzero(np.isinf(values))).size:
        if common:
            z = draw.normal(missing.shape, dtype=values.dtype)
        else:
            z = draw.uniform(missing.shape, low, high, values.dtype)
            chance = np.exp((peak * peak - z * z) / 2)
            z[draw.uniform(missing.shape, dtype=values.dtype) > chance] = np.inf
        values[missing] = np.where((low <= z) & (z <= high), z, np.inf)
    return _fill(tensor, (values * std + mean).clip(a, b).reshape(tensor.shape))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every element `val`."""
    return _fill(tensor, np.full(tensor.shape, val))


def ones_(tensor: Tensor) -> Tensor:
    """Every element 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Every element 0."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """Ones on the diagonal of a matrix, zeros elsewhere."""
    if tensor.ndim != 2:
        raise ShapeError(f"eye_: needs a matrix, got shape {tensor.shape}")
    return _fill(tensor, np.eye(tensor.shape[0], tensor.shape[1]))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Evenly spread, with variance gain² · 2 / (fan_in + fan_out). Source: Glorot and Bengio, AISTATS 2010, eq. 16."""
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal, with variance gain² · 2 / (fan_in + fan_out). Source: Glorot and Bengio, AISTATS 2010, eq. 12."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Evenly spread, with variance gain² / fan.

    Args:
        a: negative slope of the leaky_relu that follows.
        mode: "fan_in" keeps the size of signals in the forward pass, "fan_out" in the backward pass.

    Source: He et al., ICCV 2015, eq. 10 and 14.
    """
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Normal, with variance gain² / fan; arguments as for `kaiming_uniform_`."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """A random matrix (first dimension by all others) whose rows or columns, the fewer, are orthonormal times `gain`.

    Source: Saxe et al., ICLR 2014; the signs that make it uniform are from Mezzadri, Notices AMS 54 (2007).
    """
    if tensor.ndim < 2:
        raise ShapeError(f"orthogonal_: needs at least two dimensions, got shape {tensor.shape}")
    rows, columns = tensor.shape[0], tensor.numel() // max(tensor.shape[0], 1)
    draws = (generator or default_generator()).normal((max(rows, columns), min(rows, columns)), dtype=np.dtype("f8"))
    q, r = np.linalg.qr(draws)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    return _fill(tensor, gain * (q.T if rows < columns else q).reshape(tensor.shape))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution's weight (K, C, *kernel) that hands on its channels: 1 in the middle of the kernel, 0 elsewhere.

    Args:
        groups: each group of filters begins again with the first channel.
    """
    if tensor.ndim not in (3, 4, 5) or groups < 1 or tensor.shape[0] % groups:
        raise ShapeError(
            f"dirac_: needs a weight (K, C, *kernel) of 3 to 5 dimensions whose K is a multiple of groups={groups}, "
            f"got shape {tensor.shape}"
        )
    values, each = np.zeros(tensor.shape), tensor.shape[0] // groups
    middle = tuple(k // 2 for k in tensor.shape[2:])
    for group in range(groups):
        for channel in range(min(each, tensor.shape[1])):
            place: tuple[int, ...] = (group * each + channel, channel, *middle)
            values[place] = 1
    return _fill(tensor, values)


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """A matrix of normal numbers, of which the share `sparsity` of each column is zero. Source: Martens, ICML 2010."""
    if tensor.ndim != 2 or not 0 <= sparsity <= 1:
        raise ShapeError(f"sparse_: needs a matrix and a sparsity from 0 to 1, got {tensor.shape} and {sparsity}")
    rng = generator or default_generator()
    values, count = rng.normal(tensor.shape, std=std, dtype=np.dtype("f8")), math.ceil(sparsity * tensor.shape[0])
    for column in range(tensor.shape[1]):
        values[rng.permutation(tensor.shape[0])[:count], column] = 0
    return _fill(tensor, values)


def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out): how many inputs feed one output of this weight, and how many outputs one input feeds.

    >>> fans(Tensor(np.zeros((8, 3, 5, 5))))
    (75, 200)
    """
    if tensor.ndim < 2:
        raise ShapeError(f"init: fan_in and fan_out need at least two dimensions, got shape {tensor.shape}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(f"kaiming: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan = fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0


def _fill(tensor: Tensor, values: Array | np.ndarray[Any, Any]) -> Tensor:
    with recording(False):
        tensor.copy_(Tensor.of(values).to(tensor.device))
    return tensor
