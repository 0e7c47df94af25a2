"""Adadelta: steps in the size of earlier steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minidl.core import Tensor
from minidl.ops.steps import AdadeltaStep
from minidl.optim.optimizer import Group, Optimizer, check_at_least_zero, check_not_differentiable, gradients, require

__all__ = ["Adadelta"]


class Adadelta(Optimizer):
    """Adadelta; the formula is that of `minidl.ops.steps.AdadeltaStep`.

    Args:
        params: weights, or groups of them.
        lr: factor of the step, 1 in the paper.
        rho: share of the running means of squares that is kept.
        eps: added to the means under both roots.
        weight_decay: pull towards zero, as part of the gradient (L2).
        maximize: go up instead.
        foreach, capturable: PyTorch's ways to compute the same; ignored.
        differentiable: must be False.

    Source: Zeiler, arXiv:1212.5701, algorithm 1.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_not_differentiable(self, differentiable)
        defaults = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        check_at_least_zero(self, group, "lr", "eps", "weight_decay")
        require(self, "rho", group["rho"], 0 <= group["rho"] <= 1, "from 0 to 1")

    def change(self, weights: list[Tensor], group: Group) -> None:
        settings = {key: group[key] for key in ("rho", "eps", "weight_decay", "maximize")}
        for _, some in self.counted(weights):
            squares, moved = self.remembered("square_avg", some), self.remembered("acc_delta", some)
            AdadeltaStep.apply(some, squares, moved, gradients(some), lr=float(group["lr"]), **settings)
