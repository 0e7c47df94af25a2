"""Activations: the element-wise functions between layers, a row each.

Each is one pass forward and one backward: 8 and 12 bytes a number in float32, so memory decides, as long as the
formulas run in vectors.
"""

from __future__ import annotations

import math
from typing import Any

from minidl.core import Array, Grads, Node, Tensor, as_tensor
from minidl.device import inline
from minidl.device.dtypes import is_floating
from minidl.device.scalar_math import ERF_BORDER, ERF_FAR, ERF_NEAR, typed
from minidl.device.scalar_math import erf as erf_
from minidl.device.scalar_math import exp as exp_
from minidl.device.scalar_math import expm1 as expm1_
from minidl.device.scalar_math import log1p as log1p_
from minidl.device.scalar_math import normal as normal_
from minidl.device.scalar_math import sigmoid as sigmoid_
from minidl.device.scalar_math import tanh as tanh_
from minidl.errors import MinidlError
from minidl.ops.activation_gpu import activated, held_back
from minidl.ops.each import SMALL, each
from minidl.ops.elementwise import FloatUnary, Slope, Unary, unary_function
from minidl.ops.unary import clamp, exp

__all__ = [
    "elu", "erf", "gelu", "hardtanh", "leaky_relu", "relu", "relu6", "sigmoid", "silu", "softplus", "tanh",
]  # fmt: skip

# A row has `reference` and `vjp`, and a formula for one number, from which `each` makes the compiled kernel. Formulas
# stand before the row; its slope, the derivative times g, is a row of its own.


@inline
def _relu(x: Any) -> Any:
    return typed(0, x) if x <= typed(0, x) else x  # NaN is not below zero, and stays


class Relu(Unary):
    """max(x, 0), element by element; NaN stays NaN."""

    name = "relu"
    saves = ("out",)
    least = SMALL
    cpu = each(_relu)
    cuda = activated("relu")

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        xp.maximum(x, 0, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (y,) = node.saved
        return (ReluGrad.apply(g, y.detach()),)


@inline
def _relu_slope(g: Any, y: Any) -> Any:
    return g if y > typed(0, y) else typed(0, y)


class ReluGrad(Slope):
    """g where the result of relu was above zero; zero elsewhere."""

    name = "relu_grad"
    least = SMALL
    cpu = each(_relu_slope)
    cuda = held_back("relu")

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, y: Array) -> None:
        xp.multiply(g, y > 0, out=out)


@inline
def _leaky(x: Any, negative_slope: Any) -> Any:
    return x if x > typed(0, x) else x * negative_slope


class LeakyRelu(Unary):
    """x above zero, negative_slope * x below."""

    name = "leaky_relu"
    saves = ("x",)
    cpu = each(_leaky, "negative_slope")
    cuda = activated("leaky_relu", "negative_slope")

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, negative_slope: float) -> None:
        xp.multiply(x, xp.where(x > 0, x.dtype.type(1), x.dtype.type(negative_slope)), out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        return (LeakyReluGrad.apply(g, x.detach(), **node.params),)


@inline
def _leaky_slope(g: Any, x: Any, negative_slope: Any) -> Any:
    return g if x > typed(0, x) else g * negative_slope


class LeakyReluGrad(Slope):
    """g where x was above zero, negative_slope * g elsewhere."""

    name = "leaky_relu_grad"
    cpu = each(_leaky_slope, "negative_slope")
    cuda = held_back("leaky_relu", "negative_slope")

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array, *, negative_slope: float) -> None:
        xp.multiply(g, xp.where(x > 0, x.dtype.type(1), x.dtype.type(negative_slope)), out=out)


class Sigmoid(FloatUnary):
    """1 / (1 + exp(-x)), without overflow."""

    name = "sigmoid"
    saves = ("out",)
    cpu = each(sigmoid_)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        e = xp.exp(-xp.abs(x))
        out[...] = xp.where(x >= 0, 1, e) / (1 + e)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (y,) = node.saved
        return (SigmoidGrad.apply(g, y),)


@inline
def _sigmoid_slope(g: Any, y: Any) -> Any:
    return g * (y - y * y)


class SigmoidGrad(Slope):
    name = "sigmoid_grad"
    cpu = each(_sigmoid_slope)

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, y: Array) -> None:
        xp.multiply(g, y - y * y, out=out)

    @staticmethod
    def bend(y: Tensor) -> Tensor:
        return 1 - 2 * y


class Tanh(FloatUnary):
    """The hyperbolic tangent of each element."""

    name = "tanh"
    saves = ("out",)
    cpu = each(tanh_)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        xp.tanh(x, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (y,) = node.saved
        return (TanhGrad.apply(g, y),)


@inline
def _tanh_slope(g: Any, y: Any) -> Any:
    return g * (typed(1, y) - y * y)


class TanhGrad(Slope):
    name = "tanh_grad"
    cpu = each(_tanh_slope)

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, y: Array) -> None:
        xp.multiply(g, 1 - y * y, out=out)

    @staticmethod
    def bend(y: Tensor) -> Tensor:
        return -2 * y


@inline
def _softplus(x: Any, beta: Any, threshold: Any) -> Any:
    scaled, zero = x * beta, typed(0, x)
    smooth = log1p_(exp_(-abs(scaled))) + (scaled if scaled > zero else zero)
    return x if scaled > threshold else smooth / beta


class Softplus(FloatUnary):
    """log(1 + exp(beta * x)) / beta, without overflow; x where beta * x is above a threshold."""

    name = "softplus"
    saves = ("x",)
    cpu = each(_softplus, "beta", "threshold")

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, beta: float, threshold: float) -> None:
        scaled = x * out.dtype.type(beta)
        smooth = (xp.log1p(xp.exp(-xp.abs(scaled))) + xp.maximum(scaled, 0)) / out.dtype.type(beta)
        out[...] = xp.where(scaled > threshold, x, smooth)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        return (SoftplusGrad.apply(g, x, **node.params),)


@inline
def _softplus_slope(g: Any, x: Any, beta: Any, threshold: Any) -> Any:
    scaled = x * beta
    return g if scaled > threshold else g * sigmoid_(scaled)


class SoftplusGrad(Slope):
    name = "softplus_grad"
    cpu = each(_softplus_slope, "beta", "threshold")

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array, *, beta: float, threshold: float) -> None:
        slope = xp.empty(out.shape, out.dtype)
        scaled = x * out.dtype.type(beta)
        Sigmoid.reference(xp, slope, scaled)
        xp.multiply(g, xp.where(scaled > threshold, out.dtype.type(1), slope), out=out)

    @staticmethod
    def bend(x: Tensor, beta: float, threshold: float) -> Tensor:
        s = sigmoid(x * beta)
        return s * (1 - s) * beta * (x * beta <= threshold).to(x.dtype)


@inline
def _silu(x: Any) -> Any:
    return x * sigmoid_(x)


class Silu(FloatUnary):
    """x * sigmoid(x). Source: Elfwing et al., Neural Networks 2018."""

    name = "silu"
    saves = ("x",)
    cpu = each(_silu)
    cuda = activated("silu")

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        Sigmoid.reference(xp, out, x)
        xp.multiply(out, x, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        return (SiluGrad.apply(g, x),)


@inline
def _silu_slope(g: Any, x: Any) -> Any:
    s = sigmoid_(x)
    return g * (s * (typed(1, x) + x * (typed(1, x) - s)))


class SiluGrad(Slope):
    name = "silu_grad"
    cpu = each(_silu_slope)
    cuda = held_back("silu")

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array) -> None:
        s = xp.empty(out.shape, out.dtype)
        Sigmoid.reference(xp, s, x)
        xp.multiply(g, s * (1 + x * (1 - s)), out=out)

    @staticmethod
    def bend(x: Tensor) -> Tensor:
        s = sigmoid(x)
        return s * (1 - s) * (2 + x * (1 - 2 * s))


class Erf(FloatUnary):
    """The error function, 2/sqrt(pi) times the integral of exp(-t²) from 0 to x.

    Relative error below 1e-15 in float64. Source: Cody, Math. Comp. 23 (1969), two of its rational approximations.
    """

    name = "erf"
    saves = ("x",)
    cpu = each(erf_)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        out[...] = _erf(xp, x)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        return (g * exp(-x * x) * (2 / math.sqrt(math.pi)),)


def _erf(xp: Any, x: Array) -> Array:
    y = xp.abs(x).astype(xp.float64)
    near = x * _ratio(y * y, *ERF_NEAR)
    bounded = xp.minimum(y, 6.0)  # erf(6) is 1 in float64
    far = xp.sign(x) * (1 - xp.exp(-bounded * bounded) * _ratio(bounded, *ERF_FAR))
    return xp.where(y < ERF_BORDER, near, far)


def _ratio(x: Array, top: tuple[float, ...], bottom: tuple[float, ...]) -> Array:
    """One polynomial over another, by Horner's rule; coefficients from the highest power down."""
    numerator, denominator = top[0], bottom[0]
    for a, b in zip(top[1:], bottom[1:], strict=True):
        numerator, denominator = numerator * x + a, denominator * x + b
    return numerator / denominator


@inline
def _gelu(x: Any) -> Any:
    share, _ = normal_(x)
    return x * share


class Gelu(FloatUnary):
    """x times the normal distribution's cumulative probability at x."""

    name = "gelu"
    saves = ("x",)
    cpu = each(_gelu)
    cuda = activated("gelu")

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        xp.multiply(x, (1 + _erf(xp, x * math.sqrt(0.5))) / 2, out=out, casting="same_kind")

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        return (GeluGrad.apply(g, x),)


@inline
def _gelu_slope(g: Any, x: Any) -> Any:
    share, bell = normal_(x)
    return g * (share + x * bell * typed(0.3989422804014327, x))  # 1 / sqrt(2 pi)


class GeluGrad(Slope):
    name = "gelu_grad"
    cpu = each(_gelu_slope)
    cuda = held_back("gelu")

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array) -> None:
        bell = xp.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        xp.multiply(g, (1 + _erf(xp, x * math.sqrt(0.5))) / 2 + x * bell, out=out, casting="same_kind")

    @staticmethod
    def bend(x: Tensor) -> Tensor:
        return exp(-0.5 * x * x) * (2 - x * x) * (1 / math.sqrt(2 * math.pi))


@inline
def _gelu_tanh(x: Any) -> Any:
    inner = typed(0.7978845608028654, x) * (x + typed(0.044715, x) * x * x * x)  # sqrt(2 / pi)
    return x * sigmoid_(inner + inner)  # (1 + tanh(u)) / 2 = sigmoid(2u)


class GeluTanh(FloatUnary):
    """The approximation of gelu by tanh."""

    name = "gelu_tanh"
    saves = ("x",)
    cpu = each(_gelu_tanh)
    cuda = activated("gelu_tanh")

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
        xp.multiply(x, (1 + xp.tanh(inner)) / 2, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        return (GeluTanhGrad.apply(g, x),)


@inline
def _gelu_tanh_slope(g: Any, x: Any) -> Any:
    one, root, cubic = typed(1, x), typed(0.7978845608028654, x), typed(0.044715, x)
    inner = root * (x + cubic * x * x * x)
    s = sigmoid_(inner + inner)
    grown = root * (one + typed(3, x) * cubic * x * x)
    return g * (s + typed(2, x) * x * (s * (one - s)) * grown)


class GeluTanhGrad(Slope):
    name = "gelu_tanh_grad"
    cpu = each(_gelu_tanh_slope)
    cuda = held_back("gelu_tanh")

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array) -> None:
        root = math.sqrt(2 / math.pi)
        t = xp.tanh(root * (x + 0.044715 * x * x * x))
        slope = root * (1 + 3 * 0.044715 * x * x)
        xp.multiply(g, (1 + t) / 2 + x * (1 - t * t) * slope / 2, out=out)

    @staticmethod
    def bend(x: Tensor) -> Tensor:
        root = math.sqrt(2 / math.pi)
        t = tanh(root * (x + 0.044715 * x * x * x))
        slope, curve = root * (1 + 3 * 0.044715 * x * x), root * 6 * 0.044715 * x
        steep = 1 - t * t
        return steep * slope + 0.5 * x * steep * (curve - 2 * t * slope * slope)


@inline
def _elu(x: Any, alpha: Any) -> Any:
    return x if x > typed(0, x) else alpha * expm1_(x)


class Elu(FloatUnary):
    """x above zero, alpha * (exp(x) - 1) below."""

    name = "elu"
    saves = ("x",)
    cpu = each(_elu, "alpha")
    cuda = activated("elu", "alpha")

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, alpha: float) -> None:
        out[...] = xp.where(x > 0, x, out.dtype.type(alpha) * xp.expm1(xp.where(x > 0, 0, x)))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        return (EluGrad.apply(g, x, **node.params),)


@inline
def _elu_slope(g: Any, x: Any, alpha: Any) -> Any:
    return g if x > typed(0, x) else g * (alpha * exp_(x))


class EluGrad(Slope):
    name = "elu_grad"
    cpu = each(_elu_slope, "alpha")
    cuda = held_back("elu", "alpha")

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array, *, alpha: float) -> None:
        one = out.dtype.type(1)
        xp.multiply(g, xp.where(x > 0, one, out.dtype.type(alpha) * xp.exp(xp.minimum(x, 0))), out=out)

    @staticmethod
    def bend(x: Tensor, alpha: float) -> Tensor:
        return exp(clamp(x, max=0.0)) * alpha * (x <= 0).to(x.dtype)


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
    if approximate not in ("none", "tanh"):
        raise MinidlError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    result: Tensor = (Gelu if approximate == "none" else GeluTanh).apply(as_tensor(input))
    return result


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta; x itself where beta * x is above `threshold`.

    >>> softplus(Tensor([0.0]))
    tensor([0.6931472])
    """
    result: Tensor = Softplus.apply(as_tensor(input), beta=float(beta), threshold=float(threshold))
    return result


def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x above zero, alpha * (exp(x) - 1) below. Source: Clevert et al., ICLR 2016."""
    result: Tensor = Elu.apply(as_tensor(input), alpha=float(alpha))
    return result


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
