"""Adagrad: steps that shrink, weight by weight, with all gradients so far."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minidl.core import Tensor
from minidl.ops.steps import AdagradStep
from minidl.optim.optimizer import Group, Optimizer, check_at_least_zero, check_not_differentiable, gradients

__all__ = ["Adagrad"]


class Adagrad(Optimizer):
    """Adagrad; the formula is that of `minidl.ops.steps.AdagradStep`.

    Args:
        params: weights, or groups of them.
        lr: learning rate.
        lr_decay: the rate of step t is lr / (1 + (t - 1) * lr_decay).
        weight_decay: pull towards zero, as part of the gradient (L2).
        initial_accumulator_value: what the sums of squares begin with.
        eps: added to the root that is divided by.
        maximize: go up instead.
        foreach, fused: PyTorch's ways to compute the same; ignored.
        differentiable: must be False.

    Source: Duchi, Hazan and Singer, JMLR 2011.

    >>> weight = Tensor([1.0], requires_grad=True)
    >>> (3 * weight).sum().backward()
    >>> Adagrad([weight], lr=0.25).step()
    >>> weight.item()
    0.75
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_not_differentiable(self, differentiable)
        defaults = {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        check_at_least_zero(self, group, "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    def change(self, weights: list[Tensor], group: Group) -> None:
        settings = {key: group[key] for key in ("lr_decay", "eps", "weight_decay", "maximize")}
        for step, some in self.counted(weights):
            totals = self.remembered("sum", some, group["initial_accumulator_value"])
            AdagradStep.apply(some, totals, gradients(some), step=step, lr=float(group["lr"]), **settings)
