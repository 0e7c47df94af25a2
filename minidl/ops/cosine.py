"""cosine_similarity: the cosine of the angle between vectors, in one pass over both each way.

Each row gives three sums of products: 6 operations for 8 bytes in float32. The gradient needs the same sums, and is a
mixture of both rows. (Made of norms, quotients and products it took 8 passes forward.)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.core import AlikeOp, Array, Grads, Node, Spec, Tensor, dim_index, is_recording, recording
from minidl.core.walk import walk_back
from minidl.device import inline, kernel, parallel
from minidl.device.pointers import pointer_to, put, taken
from minidl.device.row_sums import row_product
from minidl.ops.binary import maximum
from minidl.ops.elementwise import broadcast
from minidl.ops.norms import vector_norm
from minidl.ops.reduce import sum as sum_
from minidl.ops.views import expand

__all__ = ["cosine_similarity"]

FLOATS = ("float32", "float64")
SAFE = 1e-30, 1e30  # sums of squares whose terms neither overflow nor vanish in float32


class Cosine(AlikeOp):
    """For rows x and y of one shape (..., D) the sum of x / max(|x|, eps) * y / max(|y|, eps)."""

    name = "cosine"
    saves = ("x", "y")

    @staticmethod
    def infer(x: Spec, y: Spec, *, eps: float) -> Spec:
        return x.with_shape(*x.shape[:-1])

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array, *, eps: float) -> None:
        with recording(False):
            out[...] = _in_ops(Tensor.of(x), Tensor.of(y), eps).array

    @staticmethod
    def cpu(out: Array, x: Array, y: Array, *, eps: float) -> None:
        parallel(_cosines, out.size, out.reshape(-1), x.reshape(-1), y.reshape(-1), x.shape[-1], eps)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, y = node.saved
        if is_recording():
            return _defined_gradients(x, y, g, node.params["eps"])
        return CosineGrad.apply(g, x, y, **node.params)  # type: ignore[no-any-return]


class CosineGrad(AlikeOp):
    """Both gradients; for a second derivative the definition is differentiated instead."""

    name = "cosine_grad"

    @staticmethod
    def infer(g: Spec, x: Spec, y: Spec, *, eps: float) -> tuple[Spec, Spec]:
        return x, y

    @staticmethod
    def reference(xp: Any, out: tuple[Array, Array], g: Array, x: Array, y: Array, *, eps: float) -> None:
        found = _defined_gradients(Tensor.of(x), Tensor.of(y), Tensor.of(g), eps)
        for target, gradient in zip(out, found, strict=True):
            target[...] = 0 if gradient is None else gradient.array

    @staticmethod
    def cpu(out: tuple[Array, Array], g: Array, x: Array, y: Array, *, eps: float) -> None:
        flat = [a.reshape(-1) for a in (*out, g, x, y)]
        parallel(_gradients, g.size, *flat, x.shape[-1], eps)


def _defined_gradients(x: Tensor, y: Tensor, g: Tensor, eps: float) -> Grads:
    """The gradients of the definition, which can be differentiated again where steps are recorded."""
    again = is_recording()
    x, y = (t if again and t.requires_grad else t.detach().requires_grad_(True) for t in (x, y))
    with recording(True):
        result = _in_ops(x, y, eps)
    return walk_back([(result, g)], retain_graph=again, create_graph=again, wanted=[x, y], accumulate=False)


def _in_ops(x: Tensor, y: Tensor, eps: float) -> Tensor:
    """The definition."""
    lengths = [maximum(vector_norm(t, 2, -1, True), t.device.xp.asarray(eps, t.dtype)) for t in (x, y)]
    return sum_((x / lengths[0]) * (y / lengths[1]), -1)


@inline
def _products(x: Array, y: Array, at: int, length: int) -> tuple[float, float, float]:
    """x·y, x·x and y·y of two rows, in float64 where that takes more than float32's range."""
    zero = x.dtype.type(0)
    both = np.float64(row_product(x, at, zero, y, at, zero, length))
    of_x, of_y = (
        np.float64(row_product(x, at, zero, x, at, zero, length)),
        np.float64(row_product(y, at, zero, y, at, zero, length)),
    )
    if not (SAFE[0] < of_x < SAFE[1] and SAFE[0] < of_y < SAFE[1]):
        both, of_x, of_y = np.float64(0), np.float64(0), np.float64(0)
        for k in range(at, at + length):
            a, b = np.float64(x[k]), np.float64(y[k])
            both, of_x, of_y = both + a * b, of_x + a * a, of_y + b * b
    return both, of_x, of_y


@kernel("T[::1], const T[::1], const T[::1], intp, float64", T=FLOATS)
def _cosines(begin: int, end: int, out: Array, x: Array, y: Array, length: int, eps: float) -> None:
    """One unit is a row."""
    for row in range(begin, end):
        both, of_x, of_y = _products(x, y, row * length, length)
        out[row] = both / max(math.sqrt(of_x), eps) / max(math.sqrt(of_y), eps)


@kernel("T[::1], T[::1], const T[::1], const T[::1], const T[::1], intp, float64", T=FLOATS)
def _gradients(
    begin: int, end: int, gx: Array, gy: Array, g: Array, x: Array, y: Array, length: int, eps: float
) -> None:
    """One unit is a row."""
    for row in range(begin, end):
        at = row * length
        both, of_x, of_y = _products(x, y, at, length)
        long_x, long_y = max(math.sqrt(of_x), eps), max(math.sqrt(of_y), eps)
        slope = g[row] / long_x / long_y
        turn = g[row] * (both / long_x / long_y)
        across = x.dtype.type(slope)
        own_x = x.dtype.type(turn / of_x if math.sqrt(of_x) > eps else 0.0)
        own_y = x.dtype.type(turn / of_y if math.sqrt(of_y) > eps else 0.0)
        places = (pointer_to(gx, at), pointer_to(gy, at), pointer_to(x, at), pointer_to(y, at))
        for k in range(length):
            _, _, a, b = taken(places, k)
            put(places, k, (across * b - own_x * a, across * a - own_y * b))


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between x1 and x2 along `dim`; norms are held above `eps`.

    >>> cosine_similarity(Tensor([1.0, 0.0]), Tensor([1.0, 1.0]), 0)
    tensor(0.70710677)
    """
    shape = broadcast("cosine_similarity", x1.spec, x2.spec) or (1,)  # a number is a vector of one
    x1, x2 = (x if x.shape == shape else expand(x, shape) for x in (x1, x2))
    d = dim_index("cosine_similarity", dim, len(shape))
    if d != len(shape) - 1:
        x1, x2 = x1.movedim(d, -1), x2.movedim(d, -1)
    result: Tensor = Cosine.apply(x1, x2, eps=float(eps))
    return result
