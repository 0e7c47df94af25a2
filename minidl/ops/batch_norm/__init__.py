"""batch_norm: zero mean and unit variance for each channel of a batch, then a scale and a shift.

Forward reads x twice and writes once: statistics, then (x - mean) * rstd * weight + bias, with the residual and the
ReLU behind it in the same pass (`fusion.py`). Backward needs two sums, because moving one element moves the mean and
the variance of all: gx = rstd * weight * (g - mean(g) - xhat * mean(g * xhat)); it reads g and x twice and writes gx.
What ReLU held back is computed again from x, or, if there was a residual, read from the result. To keep results of
SiLU, not to compute them again, gained nothing: a step of an MBConv net took 112 ms, not 107, and held 114 MiB, not 65.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any, ClassVar

from minidl.core import AlikeOp, Array, Grads, Node, Run, Spec, Tensor, UpdateOp, is_recording
from minidl.device.dtypes import accumulator
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


class BatchNormalizeAtRest(BatchNormalize):
    """The same by running statistics, which do not depend on x."""

    name = "batch_normalize_at_rest"

    @classmethod
    def vjp(cls, node: Node, g: Tensor) -> Grads:
        x, weight, bias, mean, var, *result = node.saved
        eps, activation = node.params["eps"], node.params["activation"]
        if result:
            g, activation = passed(g, result[0].detach(), activation), NONE
        residual = (g,) if len(node.specs) > 5 else ()
        if not is_recording() and not any(node.needs[3:5]):
            found = BatchNormalizeAtRestGrad.apply(g, x, weight, bias, mean, var, eps=eps, activation=activation)
            return *found, None, None, *residual
        dims, shape = _all_but_channels(x.ndim), _by_channel(x.ndim)
        centred, rstd = x - mean.reshape(shape), rsqrt(var + eps)
        scale = weight * rstd
        if activation != NONE:
            g = passed(g, centred * scale.reshape(shape) + bias.reshape(shape), activation)
        gb, along = sum_(g, dims), sum_(g * centred, dims)
        return g * scale.reshape(shape), along * rstd, gb, -gb * scale, along * scale * rstd * rstd * -0.5, *residual


class BatchNormalizeAtRestAddRelu(BatchNormalizeAtRest):
    """The same with a residual under a ReLU."""

    name = "batch_normalize_at_rest_add_relu"
    saves = ("x", "weight", "bias", "mean", "var", "out")


class BatchNormalizeAtRestGrad(BatchNormalizeGrad):
    """The gradients of x, weight and bias where mean and variance do not depend on x."""

    name = "batch_normalize_at_rest_grad"

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, ...], g: Array, x: Array, weight: Array, bias: Array, mean: Array, var: Array,
        *, eps: float, activation: Activation,
    ) -> None:  # fmt: skip
        BatchNormalizeGrad.reference(xp, out, g, x, weight, bias, mean, var, eps=eps, activation=activation)
        if activation != NONE:
            y = xp.empty(x.shape, x.dtype)
            BatchNormalize.reference(xp, y, x, weight, bias, mean, var, eps=eps, activation=NONE)
            g = held_back(xp, g, y, activation)
        xp.multiply(g, _scale(weight, var, eps).reshape(_by_channel(x.ndim)), out=out[0])

    @staticmethod
    def bind(
        out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, bias: Array, mean: Array, var: Array,
        *, eps: float, activation: Activation,
    ) -> Run:  # fmt: skip
        return cpu.gradients(out[0], g, x, eps, activation, is_at_rest=True)

    @classmethod
    def cuda_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return False


class TrackedMoments(UpdateOp):
    """Mean and variance of each channel of x; running += momentum * (new - running) for those of all batches."""

    name = "tracked_moments_"
    updates = 2

    @staticmethod
    def infer(
        running_mean: Spec, running_var: Spec, x: Spec, *, momentum: float, correction: float
    ) -> tuple[Spec, Spec]:
        return BatchMoments.infer(x)

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array, Array, Array], x: Array, *, momentum: float, correction: float
    ) -> None:
        *running, mean, var = out
        BatchMoments.reference(xp, (mean, var), x)
        for moved, new in zip(running, (mean, var * correction), strict=True):
            moved += momentum * (new - moved)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and all(a.dtype == arrays[0].dtype and a.size for a in arrays)

    strided = True

    @staticmethod
    def bind(out: tuple[Array, Array, Array, Array], x: Array, *, momentum: float, correction: float) -> Run:
        return cpu.tracked_moments(x, momentum, correction)

    @classmethod
    def cuda_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cuda_takes(arrays, params) and all(a.dtype == arrays[0].dtype and a.size for a in arrays)

    @staticmethod
    def cuda(out: tuple[Array, Array, Array, Array], x: Array, *, momentum: float, correction: float) -> None:
        on_gpu.moments(*out[2:], x)
        on_gpu.move_towards(*out, momentum, correction)


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
    channels, count = _checked(
        input.shape, *[None if t is None else t.shape for t in (running_mean, running_var, weight, bias)], training
    )
    weight = _filled(input, channels, 1.0) if weight is None else weight
    bias = _filled(input, channels, 0.0) if bias is None else bias
    if running_mean is None or running_var is None or (training and not count):  # which has no statistics
        mean, var = BatchMoments.apply(input.detach())
    elif training:
        mean, var = TrackedMoments.apply(
            running_mean, running_var, input, momentum=float(momentum), correction=count / max(count - 1, 1)
        )
    else:
        mean, var = running_mean, running_var
    kind = BatchNormalizeAtRest if mean is running_mean else BatchNormalize
    result: Tensor = kind.apply(input, weight, bias, mean, var, eps=float(eps), activation=NONE)
    return result


Shape = tuple[int, ...]


@functools.lru_cache(maxsize=1024)
def _checked(
    input: Shape, running_mean: Shape | None, running_var: Shape | None, weight: Shape | None, bias: Shape | None,
    training: bool,
) -> tuple[int, int]:  # fmt: skip
    """The number of channels and of values in each, after all shapes were found to fit."""
    if len(input) < 2:
        raise ShapeError(f"batch_norm: input must be (N, C, ...), got {input}")
    channels = input[1]
    for name, shape in (("running_mean", running_mean), ("running_var", running_var), ("weight", weight),
                        ("bias", bias)):  # fmt: skip
        if shape is not None and shape != (channels,):
            raise ShapeError(f"batch_norm: input {input} has {channels} channels, but {name} has shape {shape}")
    count = math.prod(input) // max(channels, 1)
    if training and count == 1:
        raise ShapeError(f"batch_norm: needs more than one value per channel to train, got input {input}")
    return channels, count


def _filled(input: Tensor, channels: int, value: float) -> Tensor:
    return Tensor.of(input.device.xp.full(channels, value, input.dtype))
