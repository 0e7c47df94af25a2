"""sgd_step: one step of stochastic gradient descent, with momentum, weight decay and Nesterov's form, in one pass.

Memory-bound: reads the weight, the gradient and the momentum once and writes two of them, 20 bytes a float32 weight
(12 without momentum), for 2 to 8 floating-point operations.
"""

from __future__ import annotations

from typing import Any

from minidl.core import Array, Spec, Tensor, UpdateOp
from minidl.device import kernel, parallel
from minidl.errors import DTypeError, ShapeError

__all__ = ["sgd_step"]


class SGDStep(UpdateOp):
    """param -= lr * (grad + weight_decay * param)."""

    name = "sgd_step"

    @staticmethod
    def infer(param: Spec, grad: Spec, *, lr: float, weight_decay: float, maximize: bool) -> None:
        check_step("sgd_step", param, grad=grad)

    @staticmethod
    def reference(xp: Any, out: Array, grad: Array, *, lr: float, weight_decay: float, maximize: bool) -> None:
        out -= lr * descent(out, grad, weight_decay, maximize)

    @staticmethod
    def cpu(out: Array, grad: Array, *, lr: float, weight_decay: float, maximize: bool) -> None:
        parallel(_plain, out.size, out.reshape(-1), grad.reshape(-1), lr, weight_decay, -1.0 if maximize else 1.0)


class SGDMomentumStep(UpdateOp):
    """velocity = momentum * velocity + (1 - dampening) * grad; param -= lr * velocity."""

    name = "sgd_momentum_step"
    updates = 2

    @staticmethod
    def infer(
        param: Spec,
        velocity: Spec,
        grad: Spec,
        *,
        lr: float,
        momentum: float,
        dampening: float,
        weight_decay: float,
        nesterov: bool,
        maximize: bool,
    ) -> None:
        check_step("sgd_step", param, velocity=velocity, grad=grad)

    @staticmethod
    def reference(
        xp: Any,
        out: tuple[Array, Array],
        grad: Array,
        *,
        lr: float,
        momentum: float,
        dampening: float,
        weight_decay: float,
        nesterov: bool,
        maximize: bool,
    ) -> None:
        param, velocity = out
        down = descent(param, grad, weight_decay, maximize)
        velocity *= momentum
        velocity += (1 - dampening) * down
        param -= lr * (down + momentum * velocity if nesterov else velocity)

    @staticmethod
    def cpu(
        out: tuple[Array, Array],
        grad: Array,
        *,
        lr: float,
        momentum: float,
        dampening: float,
        weight_decay: float,
        nesterov: bool,
        maximize: bool,
    ) -> None:
        param, velocity = (a.reshape(-1) for a in out)
        # The step is a mix of the gradient and the new velocity: (0, 1) plain, (1, momentum) with Nesterov.
        of_grad, of_velocity = (1.0, momentum) if nesterov else (0.0, 1.0)
        sign = -1.0 if maximize else 1.0
        parallel(
            _with_momentum, param.size, param, velocity, grad.reshape(-1),
            lr, momentum, 1.0 - dampening, weight_decay, of_grad, of_velocity, sign,
        )  # fmt: skip


@kernel("T[::1], const T[::1], T, T, T", T=("float32", "float64"))
def _plain(begin: int, end: int, param: Any, grad: Any, lr: Any, weight_decay: Any, sign: Any) -> None:
    for i in range(begin, end):
        param[i] -= lr * (sign * grad[i] + weight_decay * param[i])


@kernel("T[::1], T[::1], const T[::1], T, T, T, T, T, T, T", T=("float32", "float64"))
def _with_momentum(
    begin: int,
    end: int,
    param: Any,
    velocity: Any,
    grad: Any,
    lr: Any,
    momentum: Any,
    share: Any,
    weight_decay: Any,
    of_grad: Any,
    of_velocity: Any,
    sign: Any,
) -> None:
    for i in range(begin, end):
        down = sign * grad[i] + weight_decay * param[i]
        v = momentum * velocity[i] + share * down
        velocity[i] = v
        param[i] -= lr * (of_grad * down + of_velocity * v)


def descent(param: Array, grad: Array, weight_decay: float, maximize: bool) -> Array:
    """The direction to go against: the gradient (its negative to maximise) plus the pull of weight decay."""
    down = -grad if maximize else grad
    return down + weight_decay * param if weight_decay else down


def check_step(op: str, param: Spec, **others: Spec) -> None:
    """See that all that a step reads has the shape and type of the weight."""
    for name, spec in others.items():
        if spec.shape != param.shape:
            raise ShapeError(f"{op}: {name} must have the shape of param, {param.shape}, got {spec.shape}")
        if spec.dtype != param.dtype:
            raise DTypeError(f"{op}: {name} must have the type of param, {param.dtype}, got {spec.dtype}")


def sgd_step(
    param: Tensor,
    grad: Tensor,
    velocity: Tensor | None = None,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
) -> None:
    """Move `param`, in place, one step down the gradient.

        g = grad + weight_decay * param
        velocity = momentum * velocity + (1 - dampening) * g
        param -= lr * (g + momentum * velocity if nesterov else velocity)

    Args:
        param: any shape, floating.
        grad: of the same shape and type.
        velocity: running sum of gradients, changed in place, zeros before the first step (PyTorch's first step does
            not dampen: pass dampening=0 there); None for param -= lr * g.
        maximize: go up the gradient instead.

    Raises:
        ShapeError, DTypeError: if shapes or types differ.

    Source: Sutskever et al., ICML 2013, section 2, in PyTorch's form, where lr is outside of the velocity.

    >>> weight = Tensor([1.0, 2.0])
    >>> sgd_step(weight, Tensor([1.0, -1.0]), lr=0.5)
    >>> weight
    tensor([0.5, 2.5])
    """
    if velocity is None:
        SGDStep.apply(param, grad, lr=lr, weight_decay=weight_decay, maximize=maximize)
    else:
        SGDMomentumStep.apply(
            param, velocity, grad, lr=lr, momentum=momentum, dampening=dampening,
            weight_decay=weight_decay, nesterov=nesterov, maximize=maximize,
        )  # fmt: skip
