"""Which algorithm a convolution takes: one rule, open to the user.

| algorithm | is for |
|---|---|
| implicit | any 1-d and 2-d convolution of float32 or float64: a matrix product that reads the image in place |
| im2col | everything else: 3-d, other number types, no Numba |

On a Xeon with AVX-512, one core, "implicit" takes 0.2 to 0.9 of the time of "im2col" on every shape of
`benchmarks/ops.py` but one: the weight gradient of a first layer with one channel is alike.
"""

from __future__ import annotations

from minidl.errors import KernelError

ALGORITHMS = ("auto", "implicit", "im2col")
_chosen = {"algorithm": "auto"}


def set_conv_algorithm(algorithm: str) -> None:
    """Let convolutions run by one algorithm, where it can: "auto" (the default), "implicit" or "im2col".

    Raises:
        KernelError: if there is no such algorithm.
    """
    if algorithm not in ALGORITHMS:
        raise KernelError(f"set_conv_algorithm: algorithm must be one of {', '.join(ALGORITHMS)}, got {algorithm!r}")
    _chosen["algorithm"] = algorithm


def algorithm(dims: int) -> str:
    """The algorithm for a convolution with so many spatial dimensions."""
    return "im2col" if dims > 2 or _chosen["algorithm"] == "im2col" else "implicit"
