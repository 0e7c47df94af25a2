"""SGD: stochastic gradient descent, with momentum if asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minidl.core import Tensor
from minidl.ops.sgd_step import SGDMomentumStep, SGDStep
from minidl.optim.optimizer import (
    Group,
    Optimizer,
    check_at_least_zero,
    check_not_differentiable,
    gradients,
    require,
)

__all__ = ["SGD"]


class SGD(Optimizer):
    """Down the gradient; the formula is that of `minidl.ops.sgd_step`.

    Args:
        params: weights, or groups of them.
        lr: learning rate, the length of a step per unit of gradient.
        momentum: share of the last step's velocity that is kept; 0 for none.
        dampening: share of the gradient that does not enter the velocity.
        weight_decay: pull towards zero, as part of the gradient (L2).
        nesterov: look ahead along the velocity; needs momentum and no dampening.
        maximize: go up instead.
        foreach, fused: PyTorch's ways to compute the same; ignored.
        differentiable: must be False.

    Source: Sutskever et al., ICML 2013.

    >>> weight = Tensor([1.0], requires_grad=True)
    >>> (weight * weight).sum().backward()
    >>> SGD([weight], lr=0.25).step()
    >>> weight.item()
    0.5
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_not_differentiable(self, differentiable)
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        check_at_least_zero(self, group, "lr", "momentum", "weight_decay")
        fits = not group["nesterov"] or (group["momentum"] > 0 and group["dampening"] == 0)
        require(self, "nesterov", "momentum {momentum}, dampening {dampening}".format(**group), fits,
                "used with momentum above 0 and dampening 0")  # fmt: skip

    def change(self, weights: list[Tensor], group: Group) -> None:
        settings = {"lr": float(group["lr"]), "weight_decay": group["weight_decay"], "maximize": group["maximize"]}
        if not group["momentum"]:
            SGDStep.apply(weights, gradients(weights), **settings)
            return
        settings |= {"momentum": group["momentum"], "nesterov": group["nesterov"]}
        new = [w for w in weights if "momentum_buffer" not in self.state[w]]
        old = [w for w in weights if "momentum_buffer" in self.state[w]] if new else weights
        # The first gradient enters whole, as in PyTorch.
        for some, dampening in ((new, 0.0), (old, group["dampening"])):
            if some:
                velocities = self.remembered("momentum_buffer", some)
                SGDMomentumStep.apply(some, velocities, gradients(some), dampening=dampening, **settings)
