"""Rprop: steps by the sign of the gradient alone, each weight with a size of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minidl.core import Tensor
from minidl.ops.steps import RpropStep
from minidl.optim.optimizer import Group, Optimizer, check_at_least_zero, check_not_differentiable, gradients, require

__all__ = ["Rprop"]


class Rprop(Optimizer):
    """Rprop, for gradients of the whole data set; the formula is that of `minidl.ops.steps.RpropStep`.

    Args:
        params: weights, or groups of them.
        lr: size of the first step.
        etas: by how much a size shrinks when the gradient changes its sign, and grows when not.
        step_sizes: the smallest and the largest size.
        maximize: go up instead.
        foreach, capturable: PyTorch's ways to compute the same; ignored.
        differentiable: must be False.

    Source: Riedmiller and Braun, ICNN 1993; the form without weight backtracking of Igel and Hüsken, NC 2000.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_not_differentiable(self, differentiable)
        super().__init__(params, {"lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize})

    def check(self, group: Group) -> None:
        check_at_least_zero(self, group, "lr")
        shrink, grow = group["etas"]
        require(self, "etas", group["etas"], 0 < shrink < 1 < grow, "a number between 0 and 1, and one above 1")

    def change(self, weights: list[Tensor], group: Group) -> None:
        (shrink, grow), (smallest, largest) = group["etas"], group["step_sizes"]
        for _, some in self.counted(weights):
            state = self.remembered("prev", some), self.remembered("step_size", some, float(group["lr"]))
            RpropStep.apply(
                some, *state, gradients(some), shrink=shrink, grow=grow, smallest=smallest, largest=largest,
                maximize=group["maximize"],
            )  # fmt: skip
