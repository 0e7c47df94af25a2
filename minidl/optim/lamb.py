"""LAMB: Adam whose steps have, tensor by tensor, the size of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from minidl.core import Tensor
from minidl.create import zeros_like
from minidl.ops.many import sums_of_squares
from minidl.ops.sgd_step import SGDStep
from minidl.ops.steps import LAMBStep
from minidl.optim.optimizer import Group, MomentOptimizer, gradients

__all__ = ["LAMB"]


class LAMB(MomentOptimizer):
    """LAMB, for large batches: the direction of `minidl.ops.steps.LAMBStep`, scaled to the norm of each tensor.

        param -= lr * |param| / |change| * change           (a ratio of 1 where either norm is 0)

    Args:
        params: weights, or groups of them.
        lr: learning rate: the length of a step relative to that of the weights.
        betas: shares of the running means of the gradient and of its square that are kept.
        eps: added to the root that is divided by.
        weight_decay: pull towards zero, as part of the change, so that it is scaled with it.
        maximize: go up instead.

    Source: You et al., ICLR 2020, algorithm 2, with the identity for phi. PyTorch has no LAMB.

    >>> weight = Tensor([3.0, 4.0], requires_grad=True)
    >>> weight.sum().backward()
    >>> LAMB([weight], lr=0.2).step()  # the weights have length 5, so the step has length 1
    >>> weight
    tensor([2.2928932, 3.2928932], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults)

    def change(self, weights: list[Tensor], group: Group) -> None:
        settings = self.moment_settings(group)
        lr = settings.pop("lr")
        for step, some in self.counted(weights):
            state = self.remembered("exp_avg", some), self.remembered("exp_avg_sq", some)
            changes = [zeros_like(w) for w in some]
            LAMBStep.apply(some, *state, changes, gradients(some), step=step, **settings)
            squares = sums_of_squares([*some, *changes]).tolist()
            for i, (weight, change) in enumerate(zip(some, changes, strict=True)):
                rate = lr * _ratio(squares[i], squares[i + len(some)])
                SGDStep.apply([weight], [change], lr=rate, weight_decay=0.0, maximize=False)


def _ratio(weight: float, change: float) -> float:
    """The ratio of two lengths whose squares are given; 1 where either is 0."""
    return math.sqrt(weight / change) if weight and change else 1.0
