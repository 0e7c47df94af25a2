"""Adamax: Adam by the largest gradient instead of the mean square."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minidl.core import Tensor
from minidl.ops.steps import AdamaxStep
from minidl.optim.optimizer import Group, MomentOptimizer, check_not_differentiable, gradients

__all__ = ["Adamax"]


class Adamax(MomentOptimizer):
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

    def change(self, weights: list[Tensor], group: Group) -> None:
        for step, some in self.counted(weights):
            state = self.remembered("exp_avg", some), self.remembered("exp_inf", some)
            AdamaxStep.apply(some, *state, gradients(some), step=step, **self.moment_settings(group))
