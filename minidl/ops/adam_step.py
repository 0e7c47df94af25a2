"""adam_step: one step of Adam, AdamW or AMSGrad in one pass over the weights.

Memory-bound: 28 bytes a float32 weight (four arrays read, three written), 36 for AMSGrad, against some 15
floating-point operations. Written array by array, as the reference is, it moves four times as many.
"""

from __future__ import annotations

import math
from typing import Any

from minidl.core import Tensor
from minidl.device.scalar_math import chosen, root
from minidl.ops.step import Step, decay, descent

__all__ = ["adam_step"]


class AdamStep(Step):
    """Changes the weight and both moments."""

    name = "adam_step"

    @staticmethod
    def coefficients(
        *, step: int, lr: float, beta1: float, beta2: float, eps: float, **decayed: Any
    ) -> dict[str, float]:
        """The factors of step number `step`, counted from 1."""
        return {
            **decay(lr, **decayed),
            "new_mean": 1.0 - beta1,  # in float32, 1 - 0.999 would be wrong in the fifth digit
            "old_square": beta2,
            "new_square": 1.0 - beta2,
            # The biases of both moments are taken out of the rate, and so into eps: that leaves one division a number.
            "rate": lr * math.sqrt(1.0 - beta2**step) / (1.0 - beta1**step),
            "eps": eps * math.sqrt(1.0 - beta2**step),
        }

    @staticmethod
    def rule(
        param: Any, mean: Any, square: Any, grad: Any,
        sign: Any, l2: Any, keep: Any, new_mean: Any, old_square: Any, new_square: Any, rate: Any, eps: Any,
    ) -> Any:  # fmt: skip
        param, grad = descent(param, grad, sign, l2, keep)
        mean = mean + new_mean * (grad - mean)
        square = old_square * square + new_square * grad * grad
        return param - rate * (mean / (root(square) + eps)), mean, square


class AMSGradStep(Step):
    """Changes the weight, both moments, and the largest second moment so far, by which it divides."""

    name = "amsgrad_step"
    coefficients = AdamStep.coefficients

    @staticmethod
    def rule(
        param: Any, mean: Any, square: Any, largest: Any, grad: Any,
        sign: Any, l2: Any, keep: Any, new_mean: Any, old_square: Any, new_square: Any, rate: Any, eps: Any,
    ) -> Any:  # fmt: skip
        param, grad = descent(param, grad, sign, l2, keep)
        mean = mean + new_mean * (grad - mean)
        square = old_square * square + new_square * grad * grad
        largest = chosen(square <= largest, largest, square)  # so NaN wins
        return param - rate * (mean / (root(largest) + eps)), mean, square, largest


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
    >>> adam_step(weight, Tensor([5.0]), *zeros, step=1, lr=0.5)
    >>> weight
    tensor([0.5])
    """
    state = [[mean], [square]] if largest is None else [[mean], [square], [largest]]
    op = AdamStep if largest is None else AMSGradStep
    op.apply(
        [param], *state, [grad], step=step, lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay,
        decoupled=decoupled, maximize=maximize,
    )  # fmt: skip
