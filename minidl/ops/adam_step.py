"""adam_step: one step of Adam, AdamW or AMSGrad in one pass over the weights.

Memory-bound: 28 bytes a float32 weight (four arrays read, three written), 36 for AMSGrad, against some 15
floating-point operations. Written array by array, as the reference is, it moves four times as many.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from minidl.core import Array, Spec, Tensor, UpdateOp
from minidl.device import kernel, parallel
from minidl.ops.sgd_step import check_step

__all__ = ["adam_step"]


class Coefficients(NamedTuple):
    """What a step multiplies by: worked out once, in Python's double precision."""

    sign: float  # -1 to maximise
    l2: float  # weight decay as a part of the gradient
    keep: float  # what decoupled weight decay leaves of a weight
    new_mean: float  # 1 - beta1; in float32, 1 - 0.999 would be wrong in the fifth digit
    old_square: float  # beta2
    new_square: float  # 1 - beta2
    rate: float  # lr, with the bias of the first moment taken out
    root: float  # the bias of the second moment's root
    eps: float


def coefficients(
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> Coefficients:
    """The factors of step number `step`, counted from 1."""
    return Coefficients(
        sign=-1.0 if maximize else 1.0,
        l2=0.0 if decoupled else weight_decay,
        keep=1.0 - lr * weight_decay if decoupled else 1.0,
        new_mean=1.0 - beta1,
        old_square=beta2,
        new_square=1.0 - beta2,
        rate=lr / (1.0 - beta1**step),
        root=math.sqrt(1.0 - beta2**step),
        eps=eps,
    )


class AdamStep(UpdateOp):
    """Changes the weight and both moments."""

    name = "adam_step"
    updates = 3

    @staticmethod
    def infer(param: Spec, mean: Spec, square: Spec, grad: Spec, **params: Any) -> None:
        check_step("adam_step", param, mean=mean, square=square, grad=grad)

    @staticmethod
    def reference(xp: Any, out: tuple[Array, Array, Array], grad: Array, **params: Any) -> None:
        param, mean, square = out
        c = coefficients(**params)
        _moments(param, mean, square, grad, c)
        param -= c.rate * mean / (xp.sqrt(square) / c.root + c.eps)

    @staticmethod
    def cpu(out: tuple[Array, Array, Array], grad: Array, **params: Any) -> None:
        param, mean, square = (a.reshape(-1) for a in out)
        parallel(_adam, param.size, param, mean, square, grad.reshape(-1), *coefficients(**params))


class AMSGradStep(UpdateOp):
    """Changes the weight, both moments, and the largest second moment so far, by which it divides."""

    name = "amsgrad_step"
    updates = 4

    @staticmethod
    def infer(param: Spec, mean: Spec, square: Spec, largest: Spec, grad: Spec, **params: Any) -> None:
        check_step("adam_step", param, mean=mean, square=square, largest=largest, grad=grad)

    @staticmethod
    def reference(xp: Any, out: tuple[Array, Array, Array, Array], grad: Array, **params: Any) -> None:
        param, mean, square, largest = out
        c = coefficients(**params)
        _moments(param, mean, square, grad, c)
        xp.maximum(largest, square, out=largest)
        param -= c.rate * mean / (xp.sqrt(largest) / c.root + c.eps)

    @staticmethod
    def cpu(out: tuple[Array, Array, Array, Array], grad: Array, **params: Any) -> None:
        param, mean, square, largest = (a.reshape(-1) for a in out)
        parallel(_amsgrad, param.size, param, mean, square, largest, grad.reshape(-1), *coefficients(**params))


def _moments(param: Array, mean: Array, square: Array, grad: Array, c: Coefficients) -> None:
    """Decay the weight and take the gradient into both running means."""
    param *= c.keep
    down = c.sign * grad + c.l2 * param
    mean += c.new_mean * (down - mean)
    square *= c.old_square
    square += c.new_square * down * down


@kernel("T[::1], T[::1], T[::1], const T[::1], T, T, T, T, T, T, T, T, T", T=("float32", "float64"))
def _adam(
    begin: int, end: int, param: Any, mean: Any, square: Any, grad: Any,
    sign: Any, l2: Any, keep: Any, new_mean: Any, old_square: Any, new_square: Any, rate: Any, root: Any, eps: Any,
) -> None:  # fmt: skip
    for i in range(begin, end):
        p = param[i] * keep
        down = sign * grad[i] + l2 * p
        m = mean[i] + new_mean * (down - mean[i])
        v = old_square * square[i] + new_square * down * down
        mean[i], square[i] = m, v
        param[i] = p - rate * m / (math.sqrt(v) / root + eps)


@kernel("T[::1], T[::1], T[::1], T[::1], const T[::1], T, T, T, T, T, T, T, T, T", T=("float32", "float64"))
def _amsgrad(
    begin: int, end: int, param: Any, mean: Any, square: Any, largest: Any, grad: Any,
    sign: Any, l2: Any, keep: Any, new_mean: Any, old_square: Any, new_square: Any, rate: Any, root: Any, eps: Any,
) -> None:  # fmt: skip
    for i in range(begin, end):
        p = param[i] * keep
        down = sign * grad[i] + l2 * p
        m = mean[i] + new_mean * (down - mean[i])
        v = old_square * square[i] + new_square * down * down
        mean[i], square[i] = m, v
        largest[i] = v if not v <= largest[i] else largest[i]  # NaN wins, as in numpy.maximum
        param[i] = p - rate * m / (math.sqrt(largest[i]) / root + eps)


def adam_step(
    param: Tensor,
    grad: Tensor,
    mean: Tensor,
    square: Tensor,
    largest: Tensor | None = None,
    *,
    step: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
) -> None:
    """Move `param`, in place, by one step of Adam.

        g = grad + weight_decay * param                     (Adam)
        param *= 1 - lr * weight_decay                      (AdamW: `decoupled`)
        mean = beta1 * mean + (1 - beta1) * g
        square = beta2 * square + (1 - beta2) * g²
        param -= lr * mean / (1 - beta1^step) / (sqrt(square / (1 - beta2^step)) + eps)

    Args:
        param: any shape, floating.
        grad: of the same shape and type.
        mean, square: running means of the gradient and its square, changed in place; zeros before the first step.
        largest: for AMSGrad, the largest `square` so far, by which it divides instead; changed in place.
        step: number of this step, from 1.
        maximize: go up the gradient instead.

    Raises:
        ShapeError, DTypeError: if shapes or types differ.

    Source: Kingma and Ba, ICLR 2015, algorithm 1; Loshchilov and Hutter, ICLR 2019, algorithm 2 (decoupled, in
    PyTorch's form, where decay is scaled by lr); Reddi et al., ICLR 2018, algorithm 2 (AMSGrad).

    >>> weight, zeros = Tensor([1.0]), [Tensor([0.0]), Tensor([0.0])]
    >>> adam_step(weight, Tensor([5.0]), *zeros, step=1, lr=0.1)
    >>> weight
    tensor([0.9])
    """
    state = (mean, square) if largest is None else (mean, square, largest)
    op = AdamStep if largest is None else AMSGradStep
    op.apply(
        param, *state, grad, step=step, lr=lr, beta1=beta1, beta2=beta2, eps=eps,
        weight_decay=weight_decay, decoupled=decoupled, maximize=maximize,
    )  # fmt: skip
