"""batch_norm: zero mean and unit variance for each channel of a batch, then a scale and a shift.

Forward reads x twice and writes once: statistics, then (x - mean) * rstd * weight + bias, with the residual and the
ReLU behind it in the same pass (`fusion.py`). Backward needs two sums, because moving one element moves the mean and
the variance of all: gx = rstd * weight * (g - mean(g) - xhat * mean(g * xhat)); it reads g and x twice and writes gx.
What ReLU held back is computed again from x, or, if there was a residual, read from the result. To keep results of
SiLU, not to compute them again, gained nothing: a step of an MBConv net took 112 ms, not 107, and held 114 MiB, not 65.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from minidl.core import AlikeOp, Array, Grads, Node, Run, Spec, Tensor, UpdateOp, is_recording
from minidl.core.remember import remembered
from minidl.device.dtypes import accumulator, in_float32
from minidl.errors import ShapeError
from minidl.ops.batch_norm import cpu, on_gpu
from minidl.ops.batch_norm.activation import NONE, Activation, activate, held_back, passed
from minidl.ops.reduce import mean as mean_
from minidl.ops.reduce import sum as sum_
from minidl.ops.unary import rsqrt

__all__ = ["batch_norm"]


class BatchMoments(AlikeOp):
    """Mean and variance of each channel; constants to the tape: `batch_normalize` has the gradient through them."""

    name = "batch_moments"
    strided = True

    @staticmethod
    def infer(x: Spec) -> tuple[Spec, Spec]:
        moments = Spec((x.shape[1],), accumulator(x.dtype))
        return moments, moments

    @staticmethod
    def reference(xp: Any, out: tuple[Array, Array], x: Array) -> None:
        mean, var = out
        if not x.size:
            mean[...], var[...] = 0, 0
            return
        dims, wide = _all_but_channels(x.ndim), accumulator(x.dtype)
        centre = xp.mean(x, axis=dims, dtype=wide, keepdims=True)
        mean[...] = centre.reshape(-1)
        # deviations first: the mean square minus the squared mean would cancel
        var[...] = xp.mean(xp.square(x - centre, dtype=wide), axis=dims)

    @staticmethod
    def bind(out: tuple[Array, Array], x: Array) -> Run:
        return cpu.moments(x)

    @staticmethod
    def cuda(out: tuple[Array, Array], x: Array) -> None:
        on_gpu.moments(*out, x)


class BatchNormalize(AlikeOp):
    """act((x - mean) / sqrt(var + eps) * weight + bias), mean and var being the moments of x itself."""

    name = "batch_normalize"
    saves: ClassVar[tuple[str, ...]] = ("x", "weight", "bias", "mean", "var")
    strided = True
    defers = recomputes = True

    @staticmethod
    def infer(
        x: Spec, weight: Spec, bias: Spec, mean: Spec, var: Spec, residual: Spec | None = None,
        *, eps: float, activation: Activation,
    ) -> Spec:  # fmt: skip
        if residual is not None and residual != x:
            raise ShapeError(f"batch_norm: residual must be like input {x.shape}, got {residual.shape}")
        return x

    @staticmethod
    def reference(
        xp: Any, out: Array, x: Array, weight: Array, bias: Array, mean: Array, var: Array,
        residual: Array | None = None, *, eps: float, activation: Activation,
    ) -> None:  # fmt: skip
        shape = _by_channel(x.ndim)
        xp.subtract(x, mean.reshape(shape), out=out)
        out *= _scale(weight, var, eps).reshape(shape)
        out += bias.reshape(shape)
        if residual is not None:
            out += residual
        activate(xp, out, activation)

    @staticmethod
    def bind(
        out: Array, x: Array, weight: Array, bias: Array, mean: Array, var: Array,
        residual: Array | None = None, *, eps: float, activation: Activation,
    ) -> Run:  # fmt: skip
        return cpu.normalized(out, x, residual, eps, activation)

    @staticmethod
    def cuda(
        out: Array, x: Array, weight: Array, bias: Array, mean: Array, var: Array,
        residual: Array | None = None, *, eps: float, activation: Activation,
    ) -> None:  # fmt: skip
        on_gpu.normalized(out, x, weight, bias, mean, var, residual, eps, activation)

    @classmethod
    def vjp(cls, node: Node, g: Tensor) -> Grads:
        x, weight, bias, mean, var, *result = node.saved
        y = result[0] if result else None
        return _gradients(node, g, x, weight, bias, mean, var, y)


class BatchNormalizeAddRelu(BatchNormalize):
    """`batch_normalize` with a residual under a ReLU: backward cannot tell from x where that let through."""

    name = "batch_normalize_add_relu"
    saves = ("x", "weight", "bias", "mean", "var", "out")


def _gradients(
    node: Node, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, y: Tensor | None
) -> Grads:
    eps, activation, has_residual = node.params["eps"], node.params["activation"], len(node.specs) > 5
    if not is_recording():
        if y is not None:
            gx, gw, gb, kept = BatchNormalizeAddReluGrad.apply(g, x, weight, bias, mean, var, y, eps=eps)
            return gx, gw, gb, None, None, kept
        gx, gw, gb = BatchNormalizeGrad.apply(g, x, weight, bias, mean, var, eps=eps, activation=activation)
        return gx, gw, gb, None, None, *((g,) if has_residual else ())
    # To be differentiated again, the moments are computed anew from x.
    dims, shape = _all_but_channels(x.ndim), _by_channel(x.ndim)
    centred = x - mean_(x, dims, keepdim=True)
    rstd = rsqrt(mean_(centred * centred, dims, keepdim=True) + eps)
    xhat = centred * rstd
    if activation != NONE:
        g = passed(g, xhat * weight.reshape(shape) + bias.reshape(shape) if y is None else y, activation)
    gy = g * weight.reshape(shape)
    gx = rstd * (gy - mean_(gy, dims, keepdim=True) - xhat * mean_(gy * xhat, dims, keepdim=True))
    return gx, sum_(g * xhat, dims), sum_(g, dims), None, None, *((g,) if has_residual else ())


class BatchNormalizeGrad(AlikeOp):
    """The gradients of x, weight and bias in one go; for a second derivative they are written in ops instead."""

    name = "batch_normalize_grad"
    strided = True

    @staticmethod
    def infer(
        g: Spec, x: Spec, weight: Spec, bias: Spec, mean: Spec, var: Spec, *, eps: float, activation: Activation
    ) -> tuple[Spec, Spec, Spec]:
        return x, weight, weight

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, ...], g: Array, x: Array, weight: Array, bias: Array, mean: Array, var: Array,
        *, eps: float, activation: Activation,
    ) -> None:  # fmt: skip
        if activation != NONE:
            y = xp.empty(x.shape, x.dtype)
            BatchNormalize.reference(xp, y, x, weight, bias, mean, var, eps=eps, activation=NONE)
            g = held_back(xp, g, y, activation)
        _reference_gradients(xp, out, g, x, weight, mean, var, eps)

    @staticmethod
    def bind(
        out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, bias: Array, mean: Array, var: Array,
        *, eps: float, activation: Activation,
    ) -> Run:  # fmt: skip
        return cpu.gradients(out[0], g, x, eps, activation)

    @staticmethod
    def cuda(
        out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, bias: Array, mean: Array, var: Array,
        *, eps: float, activation: Activation,
    ) -> None:  # fmt: skip
        on_gpu.gradients(out, g, x, weight, bias, mean, var, eps, activation)


class BatchNormalizeAddReluGrad(AlikeOp):
    """The gradients of x, weight, bias and residual, y being the result."""

    name = "batch_normalize_add_relu_grad"
    strided = True

    @staticmethod
    def infer(
        g: Spec, x: Spec, weight: Spec, bias: Spec, mean: Spec, var: Spec, y: Spec, *, eps: float
    ) -> tuple[Spec, Spec, Spec, Spec]:
        return x, weight, weight, x

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, ...], g: Array, x: Array, weight: Array, bias: Array, mean: Array, var: Array,
        y: Array, *, eps: float,
    ) -> None:  # fmt: skip
        xp.multiply(g, y > 0, out=out[3])
        _reference_gradients(xp, out[:3], out[3], x, weight, mean, var, eps)

    @staticmethod
    def bind(
        out: tuple[Array, Array, Array, Array], g: Array, x: Array, weight: Array, bias: Array, mean: Array, var: Array,
        y: Array, *, eps: float,
    ) -> Run:  # fmt: skip
        return cpu.gradients_under_relu(out[0], g, x, y, eps)

    @staticmethod
    def cuda(
        out: tuple[Array, Array, Array, Array], g: Array, x: Array, weight: Array, bias: Array, mean: Array, var: Array,
        y: Array, *, eps: float,
    ) -> None:  # fmt: skip
        on_gpu.gradients(out, g, x, weight, bias, mean, var, eps, y=y)


def _reference_gradients(
    xp: Any, out: tuple[Array, ...], g: Array, x: Array, weight: Array, mean: Array, var: Array, eps: float
) -> None:
    gx, gw, gb = out
    dims, shape = _all_but_channels(x.ndim), _by_channel(x.ndim)
    wide = accumulator(x.dtype)
    rstd = 1 / xp.sqrt(var.astype(wide) + eps)
    xhat = ((x - mean.reshape(shape)) * rstd.reshape(shape)).astype(x.dtype)
    plain, along = xp.sum(g, axis=dims, dtype=wide), xp.sum(g * xhat, axis=dims, dtype=wide)
    gb[...], gw[...] = plain, along
    if not x.size:
        return
    count = x.size // x.shape[1]
    gx[...] = g
    gx -= (plain / count).reshape(shape).astype(x.dtype)
    gx -= xhat * (along / count).reshape(shape).astype(x.dtype)
    gx *= _scale(weight, var, eps).reshape(shape)


def _scale(weight: Array, var: Array, eps: float) -> Array:
    wide = accumulator(var.dtype)
    return (weight / (var.astype(wide) + eps) ** 0.5).astype(var.dtype)


def _all_but_channels(ndim: int) -> tuple[int, ...]:
    return (0, *range(2, ndim))


def _by_channel(ndim: int) -> tuple[int, ...]:
    return (1, -1, *[1] * (ndim - 2))


class BatchScale(AlikeOp):
    """act(x * scale + shift) for each channel, in one pass over memory: batch-norm by running statistics."""

    name = "batch_scale"
    saves = ("x", "scale", "out")
    strided = True
    defers = True

    @staticmethod
    def infer(x: Spec, scale: Spec, shift: Spec, residual: Spec | None = None, *, activation: Activation) -> Spec:
        if residual is not None and residual != x:
            raise ShapeError(f"batch_norm: residual must be like input {x.shape}, got {residual.shape}")
        return x

    @staticmethod
    def reference(
        xp: Any,
        out: Array,
        x: Array,
        scale: Array,
        shift: Array,
        residual: Array | None = None,
        *,
        activation: Activation,
    ) -> None:
        shape = _by_channel(x.ndim)
        xp.multiply(x, scale.reshape(shape), out=out)
        out += shift.reshape(shape)
        if residual is not None:
            out += residual
        activate(xp, out, activation)

    @staticmethod
    def bind(
        out: Array, x: Array, scale: Array, shift: Array, residual: Array | None = None, *, activation: Activation
    ) -> Run:
        return cpu.scaled(out, x, residual, activation)

    @staticmethod
    def cuda(
        out: Array, x: Array, scale: Array, shift: Array, residual: Array | None = None, *, activation: Activation
    ) -> None:
        on_gpu.scaled(out, x, scale, shift, residual, activation)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, scale, y = node.saved
        dims, shape = _all_but_channels(x.ndim), _by_channel(x.ndim)
        g = passed(g, y.detach(), node.params["activation"])
        gx = g * scale.reshape(shape) if node.needs[0] else None
        gscale = sum_(g * x, dims) if node.needs[1] else None
        gshift = sum_(g, dims) if node.needs[2] else None
        return gx, gscale, gshift, *((g,) if len(node.specs) > 3 else ())


class MoveTowards(UpdateOp):
    """running += momentum * (new - running), for the mean and the variance at once."""

    name = "move_towards_"
    updates = 2

    @staticmethod
    def infer(mean: Spec, var: Spec, new_mean: Spec, new_var: Spec, *, momentum: float, correction: float) -> None:
        if mean.shape != new_mean.shape or var.shape != new_var.shape:
            raise ShapeError(
                f"batch_norm: running statistics must be {new_mean.shape}, got {mean.shape} and {var.shape}"
            )

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array], mean: Array, var: Array, *, momentum: float, correction: float
    ) -> None:
        for running, new in zip(out, (mean, var * correction), strict=True):
            running += momentum * (new - running)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and all(a.dtype == arrays[0].dtype for a in arrays)

    @staticmethod
    def cpu(out: tuple[Array, Array], mean: Array, var: Array, *, momentum: float, correction: float) -> None:
        cpu.move_towards(0, mean.size, *out, mean, var, momentum, correction)

    @classmethod
    def cuda_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cuda_takes(arrays, params) and all(a.dtype == arrays[0].dtype for a in arrays)

    @staticmethod
    def cuda(out: tuple[Array, Array], mean: Array, var: Array, *, momentum: float, correction: float) -> None:
        on_gpu.move_towards(*out, mean, var, momentum, correction)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Each channel shifted and scaled: by the statistics of the batch in training, by the running ones otherwise.

    Args:
        input: (N, C) or (N, C, d1, ...), floating.
        running_mean, running_var: (C,), changed in place in training; None to keep no record.
        weight, bias: (C,), the scale and shift after normalisation; 1 and 0 when None.
        momentum: the share of the batch in the new running statistics (the variance is Bessel-corrected there).
        eps: added to the variance.

    Raises:
        ShapeError: if sizes do not fit, or a channel has a single value in training.

    Source: Ioffe and Szegedy, ICML 2015, algorithm 1.

    >>> batch_norm(Tensor([[1.0], [3.0]]), None, None, training=True)
    tensor([[-0.999995],
            [ 0.999995]])
    """
    _check(input, running_mean, running_var, weight, bias, training)
    weight = _of_channels(input, weight, 1.0)
    bias = _of_channels(input, bias, 0.0)
    if running_mean is not None and running_var is not None and not training:
        scale, shift = _at_rest(weight, bias, running_mean, running_var, eps)
        at_rest: Tensor = BatchScale.apply(input, scale, shift, activation=NONE)
        return at_rest
    mean, var = BatchMoments.apply(input.detach())
    if running_mean is not None and running_var is not None and input.numel():  # an empty batch has no statistics
        count = input.numel() // max(input.shape[1], 1)
        correction = count / max(count - 1, 1)
        MoveTowards.apply(running_mean, running_var, mean, var, momentum=float(momentum), correction=correction)
    result: Tensor = BatchNormalize.apply(input, weight, bias, mean, var, eps=float(eps), activation=NONE)
    return result


def _at_rest(weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """What a channel is multiplied by and moved by; off the tape in one go, for six ops take 60 us."""
    if is_recording() and any(t.requires_grad for t in (weight, bias, mean, var)):
        weight, bias, mean, var = (t.to(accumulator(t.dtype)) for t in (weight, bias, mean, var))
        scale = weight * rsqrt(var + eps)
        return scale, bias - mean * scale
    arrays = (weight.array, bias.array, mean.array, var.array)
    factor, shift = remembered(("batch_norm at rest", eps), arrays, lambda: _factor_and_shift(arrays, eps))
    return Tensor.of(factor), Tensor.of(shift)


def _factor_and_shift(arrays: tuple[Array, ...], eps: float) -> tuple[Array, Array]:
    weight, bias, mean, var = map(in_float32, arrays)
    factor = _scale(weight, var, eps).astype(weight.dtype)
    return factor, bias - mean * factor


def _check(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None, bias: Tensor | None,
    training: bool,
) -> None:  # fmt: skip
    if input.ndim < 2:
        raise ShapeError(f"batch_norm: input must be (N, C, ...), got {input.shape}")
    channels = input.shape[1]
    for name, t in (("running_mean", running_mean), ("running_var", running_var), ("weight", weight), ("bias", bias)):
        if t is not None and t.shape != (channels,):
            raise ShapeError(f"batch_norm: input {input.shape} has {channels} channels, but {name} has shape {t.shape}")
    if training and 0 < input.numel() < 2 * channels:
        raise ShapeError(f"batch_norm: needs more than one value per channel to train, got input {input.shape}")


def _of_channels(input: Tensor, given: Tensor | None, value: float) -> Tensor:
    if given is not None:
        return given
    return Tensor.of(input.device.xp.full(input.shape[1], value, input.dtype))
