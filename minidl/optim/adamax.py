"""Adamax: Adam by the largest gradient instead of the mean square."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minidl.core import Tensor
from minidl.ops.steps import AdamaxStep
from minidl.optim.optimizer import (
    Group,
    Optimizer,
    check_at_least_zero,
    check_betas,
    check_not_differentiable,
    gradients,
)

__all__ = ["Adamax"]


class Adamax(Optimizer):
    """Adamax; the formula is that of `minidl.ops.steps.AdamaxStep`.

    Args:
        params: weights, or groups of them.
        lr: learning rate, about the length of a step.
        betas: shares that are kept of the running mean and of the largest gradient.
        eps: added to the size of each gradient.
        weight_decay: pull towards zero, as part of the gradient (L2).
        maximize: go up instead.
        foreach, capturable: PyTorch's ways to compute the same; ignored.
        differentiable: must be False.

    Source: Kingma and Ba, ICLR 2015, algorithm 2.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_not_differentiable(self, differentiable)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        check_at_least_zero(self, group, "lr", "eps", "weight_decay")
        check_betas(self, group)

    def change(self, weights: list[Tensor], group: Group) -> None:
        beta1, beta2 = group["betas"]
        settings = {key: group[key] for key in ("eps", "weight_decay", "maximize")}
        for step, some in self.counted(weights):
            state = self.remembered("exp_avg", some), self.remembered("exp_inf", some)
            AdamaxStep.apply(
                some, *state, gradients(some), step=step, lr=float(group["lr"]), beta1=beta1, beta2=beta2, **settings
            )
