"""Activations: the element-wise functions between layers, a row each."""

from __future__ import annotations

import math
from typing import Any

from minidl.core import Array, Grads, Node, Op, Spec, Tensor, as_tensor
from minidl.device import kernel, parallel
from minidl.device.dtypes import is_floating
from minidl.errors import MinidlError
from minidl.ops.compare import gt, le
from minidl.ops.elementwise import FloatUnary, Unary, unary_function
from minidl.ops.indexing import where
from minidl.ops.unary import clamp, exp, expm1

__all__ = [
    "elu", "erf", "gelu", "hardtanh", "leaky_relu", "relu", "relu6", "sigmoid", "silu", "softplus", "tanh",
]  # fmt: skip


class Relu(Unary):
    """max(x, 0), element by element; NaN stays NaN."""

    name = "relu"
    saves = ("out",)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        xp.maximum(x, 0, out=out)

    @staticmethod
    def cpu(out: Array, x: Array) -> None:
        parallel(_relu, x.size, out.reshape(-1), x.reshape(-1))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (y,) = node.saved
        return (ReluGrad.apply(g, y.detach()),)


class ReluGrad(Op):
    """g where the result of relu was above zero; zero elsewhere."""

    name = "relu_grad"
    saves = ("y",)

    @staticmethod
    def infer(g: Spec, y: Spec) -> Spec:
        return g

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, y: Array) -> None:
        xp.multiply(g, y > 0, out=out)

    @staticmethod
    def cpu(out: Array, g: Array, y: Array) -> None:
        parallel(_slope, g.size, out.reshape(-1), g.reshape(-1), y.reshape(-1), 0.0)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (y,) = node.saved
        return ReluGrad.apply(g, y), None


class LeakyRelu(Unary):
    """x above zero, negative_slope * x below."""

    name = "leaky_relu"
    saves = ("x",)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, negative_slope: float) -> None:
        xp.multiply(x, xp.where(x > 0, x.dtype.type(1), x.dtype.type(negative_slope)), out=out)

    @staticmethod
    def cpu(out: Array, x: Array, *, negative_slope: float) -> None:
        parallel(_slope, x.size, out.reshape(-1), x.reshape(-1), x.reshape(-1), negative_slope)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        return (LeakyReluGrad.apply(g, x.detach(), **node.params),)


class LeakyReluGrad(Op):
    """g where x was above zero, negative_slope * g elsewhere."""

    name = "leaky_relu_grad"
    saves = ("x",)

    @staticmethod
    def infer(g: Spec, x: Spec, *, negative_slope: float) -> Spec:
        return g

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array, *, negative_slope: float) -> None:
        xp.multiply(g, xp.where(x > 0, x.dtype.type(1), x.dtype.type(negative_slope)), out=out)

    @staticmethod
    def cpu(out: Array, g: Array, x: Array, *, negative_slope: float) -> None:
        parallel(_slope, g.size, out.reshape(-1), g.reshape(-1), x.reshape(-1), negative_slope)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        return LeakyReluGrad.apply(g, x, **node.params), None


@kernel("T[::1], const T[::1]", T=("float32", "float64"))
def _relu(begin: int, end: int, out: Array, x: Array) -> None:
    for i in range(begin, end):
        out[i] = 0 if x[i] <= 0 else x[i]  # NaN is not below zero, and stays


@kernel("T[::1], const T[::1], const T[::1], T", T=("float32", "float64"))
def _slope(begin: int, end: int, out: Array, g: Array, x: Array, negative_slope: float) -> None:
    for i in range(begin, end):
        out[i] = g[i] if x[i] > 0 else g[i] * negative_slope


class Sigmoid(FloatUnary):
    """1 / (1 + exp(-x)), without overflow."""

    name = "sigmoid"
    saves = ("out",)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        e = xp.exp(-xp.abs(x))
        out[...] = xp.where(x >= 0, 1, e) / (1 + e)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (y,) = node.saved
        return (g * (y - y * y),)


class Tanh(FloatUnary):
    """The hyperbolic tangent of each element."""

    name = "tanh"
    saves = ("out",)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        xp.tanh(x, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (y,) = node.saved
        return (g * (1 - y * y),)


class Softplus(FloatUnary):
    """log(1 + exp(x)), without overflow."""

    name = "softplus"
    saves = ("x",)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        xp.add(xp.log1p(xp.exp(-xp.abs(x))), xp.maximum(x, 0), out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        return (g * sigmoid(x),)


class Silu(FloatUnary):
    """x * sigmoid(x). Source: Elfwing et al., Neural Networks 2018."""

    name = "silu"
    saves = ("x",)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        Sigmoid.reference(xp, out, x)
        xp.multiply(out, x, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        s = sigmoid(x)
        return (g * s * (1 + x * (1 - s)),)


class Erf(FloatUnary):
    """The error function, 2/sqrt(pi) times the integral of exp(-t²) from 0 to x.

    Relative error below 1e-15 in float64. Source: Cody, Math. Comp. 23 (1969), two of its rational approximations.
    """

    name = "erf"
    saves = ("x",)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        y = xp.abs(x).astype(xp.float64)
        near = x * _ratio(y * y, _NEAR_TOP, _NEAR_BOTTOM)
        bounded = xp.minimum(y, 6.0)  # erf(6) is 1 in float64
        far = xp.sign(x) * (1 - xp.exp(-bounded * bounded) * _ratio(bounded, _FAR_TOP, _FAR_BOTTOM))
        out[...] = xp.where(y < 0.46875, near, far)

    @staticmethod
    def cpu(out: Array, x: Array) -> None:
        parallel(_erf, x.size, out.reshape(-1), x.reshape(-1))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        return (g * exp(-x * x) * (2 / math.sqrt(math.pi)),)


@kernel("T[::1], const T[::1]", T=("float32", "float64"))
def _erf(begin: int, end: int, out: Array, x: Array) -> None:
    for i in range(begin, end):
        out[i] = math.erf(x[i])


# Coefficients from the highest power down.
_NEAR_TOP = (
    1.85777706184603153e-1,
    3.16112374387056560,
    1.13864154151050156e2,
    3.77485237685302021e2,
    3.20937758913846947e3,
)
_NEAR_BOTTOM = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
_FAR_TOP = (
    2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1, 2.98635138197400131e2,
    8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3,
)  # fmt: skip
_FAR_BOTTOM = (
    1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
    3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3,
)  # fmt: skip


def _ratio(x: Array, top: tuple[float, ...], bottom: tuple[float, ...]) -> Array:
    """One polynomial over another, by Horner's rule."""
    numerator, denominator = top[0], bottom[0]
    for a, b in zip(top[1:], bottom[1:], strict=True):
        numerator, denominator = numerator * x + a, denominator * x + b
    return numerator / denominator


relu = unary_function(Relu)
sigmoid = unary_function(Sigmoid)
tanh = unary_function(Tanh)
silu = unary_function(Silu)
erf = unary_function(Erf)


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """`input` above zero, `negative_slope` times it below.

    >>> leaky_relu(Tensor([-1.0, 2.0]), 0.1)
    tensor([-0.1,  2. ])
    """
    result: Tensor = LeakyRelu.apply(as_tensor(input), negative_slope=float(negative_slope))
    return result


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x times the normal distribution's cumulative probability at x.

    Args:
        approximate: "none" for the exact form with erf, "tanh" for the approximation.

    Source: Hendrycks and Gimpel, arXiv:1606.08415.

    >>> gelu(Tensor([1.0]))
    tensor([0.8413447])
    """
    x = as_tensor(input)
    if approximate == "none":
        return x * 0.5 * (1 + erf(x * math.sqrt(0.5)))
    if approximate == "tanh":
        return x * 0.5 * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    raise MinidlError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta; x itself where beta * x is above `threshold`.

    >>> softplus(Tensor([0.0]))
    tensor([0.6931472])
    """
    x = as_tensor(input)
    scaled = x if beta == 1 else x * beta
    smooth: Tensor = Softplus.apply(scaled)
    return where(gt(scaled, threshold), x, smooth if beta == 1 else smooth / beta)


def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x above zero, alpha * (exp(x) - 1) below. Source: Clevert et al., ICLR 2016."""
    x = as_tensor(input)
    return where(gt(x, 0), x, alpha * expm1(where(le(x, 0), x, 0.0)))


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x, held between `min_val` and `max_val`."""
    if min_val > max_val:
        raise MinidlError(f"hardtanh: min_val must be at most max_val, got {min_val} and {max_val}")
    if not is_floating(input.dtype):  # whole numbers stay so, as in PyTorch
        min_val, max_val = int(min_val), int(max_val)
    return clamp(input, min_val, max_val)


def relu6(input: Tensor) -> Tensor:
    """x, held between 0 and 6."""
    return hardtanh(input, 0.0, 6.0)
