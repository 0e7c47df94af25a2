"""RAdam: Adam that starts as plain momentum, until its scale can be trusted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minidl.core import Tensor
from minidl.ops.steps import RAdamStep
from minidl.optim.optimizer import Group, MomentOptimizer, check_not_differentiable, gradients

__all__ = ["RAdam"]


class RAdam(MomentOptimizer):
    """RAdam; the formula is that of `minidl.ops.steps.RAdamStep`.

    Args:
        params: weights, or groups of them.
        lr: learning rate, about the length of a step.
        betas: shares of the running means of the gradient and of its square that are kept.
        eps: added to the root that is divided by.
        weight_decay: pull towards zero, as part of the gradient (L2).
        decoupled_weight_decay: decay the weights themselves, as AdamW does.
        maximize: go up instead.
        foreach, capturable: PyTorch's ways to compute the same; ignored.
        differentiable: must be False.

    Source: Liu et al., ICLR 2020, algorithm 2.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_not_differentiable(self, differentiable)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def change(self, weights: list[Tensor], group: Group) -> None:
        for step, some in self.counted(weights):
            state = self.remembered("exp_avg", some), self.remembered("exp_avg_sq", some)
            RAdamStep.apply(some, *state, gradients(some), step=step, **self.moment_settings(group))
