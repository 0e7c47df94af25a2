"""RMSprop: steps scaled, weight by weight, by the mean square of gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minidl.core import Tensor
from minidl.ops.steps import CentredRMSpropMomentumStep, CentredRMSpropStep, RMSpropMomentumStep, RMSpropStep
from minidl.optim.optimizer import Group, Optimizer, check_at_least_zero, check_not_differentiable, gradients

__all__ = ["RMSprop"]


# By whether it is centred, and whether it has momentum: the step, and what it remembers.
_KINDS = {
    (False, False): (RMSpropStep, ("square_avg",)),
    (False, True): (RMSpropMomentumStep, ("square_avg", "momentum_buffer")),
    (True, False): (CentredRMSpropStep, ("square_avg", "grad_avg")),
    (True, True): (CentredRMSpropMomentumStep, ("square_avg", "grad_avg", "momentum_buffer")),
}


class RMSprop(Optimizer):
    """RMSprop; the formulas are those of `RMSpropStep` and its neighbours in `minidl.ops.steps`.

    Args:
        params: weights, or groups of them.
        lr: learning rate.
        alpha: share of the running means that is kept.
        eps: added to the root that is divided by.
        weight_decay: pull towards zero, as part of the gradient (L2).
        momentum: share of the last step that is kept.
        centered: divide by the root of the variance instead of the mean square.
        maximize: go up instead.
        foreach, capturable: PyTorch's ways to compute the same; ignored.
        differentiable: must be False.

    Source: Hinton, Neural Networks for Machine Learning, 2012, lecture 6; Graves, arXiv:1308.0850, eq. 38-45 (centred).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_not_differentiable(self, differentiable)
        defaults = {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        check_at_least_zero(self, group, "lr", "alpha", "eps", "weight_decay", "momentum")

    def change(self, weights: list[Tensor], group: Group) -> None:
        op, names = _KINDS[bool(group["centered"]), group["momentum"] > 0]
        keys = ("alpha", "eps", "weight_decay", "maximize", *["momentum"] * (group["momentum"] > 0))
        settings = {key: group[key] for key in keys}
        for _, some in self.counted(weights):
            state = [self.remembered(name, some) for name in names]
            op.apply(some, *state, gradients(some), lr=float(group["lr"]), **settings)
