"""sgd_step: one step of stochastic gradient descent, with momentum, weight decay and Nesterov's form, in one pass.

Memory-bound: reads the weight, the gradient and the momentum once and writes two of them, 20 bytes a float32 weight
(12 without momentum), for 2 to 8 floating-point operations.
"""

from __future__ import annotations

from typing import Any

from minidl.core import Tensor
from minidl.ops.step import Step

__all__ = ["sgd_step"]


class SGDStep(Step):
    """param -= lr * (grad + weight_decay * param)."""

    name = "sgd_step"

    @staticmethod
    def coefficients(*, lr: float, weight_decay: float, maximize: bool) -> dict[str, float]:
        return {"rate": -lr if maximize else lr, "l2": lr * weight_decay}

    @staticmethod
    def rule(param: Any, grad: Any, rate: Any, l2: Any) -> Any:
        return (param - (rate * grad + l2 * param),)


class SGDMomentumStep(Step):
    """velocity = momentum * velocity + (1 - dampening) * grad; param -= lr * velocity."""

    name = "sgd_momentum_step"

    @staticmethod
    def coefficients(
        *, lr: float, momentum: float, dampening: float, weight_decay: float, nesterov: bool, maximize: bool
    ) -> dict[str, float]:
        return {
            "sign": -1.0 if maximize else 1.0, "l2": weight_decay, "momentum": momentum, "share": 1.0 - dampening,
            # The step is a mix of the gradient and the new velocity: (0, 1) plain, (1, momentum) with Nesterov.
            "of_grad": lr if nesterov else 0.0, "of_velocity": lr * momentum if nesterov else lr,
        }  # fmt: skip

    @staticmethod
    def rule(
        param: Any, velocity: Any, grad: Any, sign: Any, l2: Any, momentum: Any, share: Any, of_grad: Any,
        of_velocity: Any,
    ) -> Any:  # fmt: skip
        down = sign * grad + l2 * param
        velocity = momentum * velocity + share * down
        return param - (of_grad * down + of_velocity * velocity), velocity


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
        SGDStep.apply([param], [grad], lr=lr, weight_decay=weight_decay, maximize=maximize)
    else:
        SGDMomentumStep.apply(
            [param], [velocity], [grad], lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay,
            nesterov=nesterov, maximize=maximize,
        )  # fmt: skip
