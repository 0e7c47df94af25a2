"""ASGD: SGD, and the average of the weights that it passes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from minidl.core import Tensor
from minidl.ops.steps import ASGDStep
from minidl.optim.optimizer import Group, Optimizer, check_at_least_zero, check_not_differentiable, gradients

__all__ = ["ASGD"]


class ASGD(Optimizer):
    """Averaged SGD; the formula is that of `minidl.ops.steps.ASGDStep`. The averages are in the state, under "ax".

    The rate of step t + 1 is lr / (1 + lambd * lr * t)^alpha, and the share of its weights in the average is
    1 / max(1, t - t0): before step t0 the average is the weight.

    Args:
        params: weights, or groups of them.
        lr: learning rate of the first step.
        lambd: pull towards zero, as a shrinking of the weights, and how fast the rate falls.
        alpha: power by which the rate falls.
        t0: the step from which weights are averaged.
        weight_decay: pull towards zero, as part of the gradient (L2).
        maximize: go up instead.
        foreach, capturable: PyTorch's ways to compute the same; ignored.
        differentiable: must be False.

    Source: Polyak and Juditsky, SIAM J. Control Optim. 30 (1992); the schedule is that of Xu, arXiv:1107.2490.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_not_differentiable(self, differentiable)
        defaults = {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        check_at_least_zero(self, group, "lr", "weight_decay")

    def change(self, weights: list[Tensor], group: Group) -> None:
        settings = {key: group[key] for key in ("lambd", "weight_decay", "maximize")}
        for step, counted in self.counted(weights):
            for (eta, mu), some in self._paced(counted, step, group):
                averages = self.remembered("ax", some)
                ASGDStep.apply(some, averages, gradients(some), eta=eta, mu=mu, **settings)

    def _paced(
        self, weights: list[Tensor], step: int, group: Group
    ) -> Iterable[tuple[tuple[float, float], list[Tensor]]]:
        """The weights by the rate and the share of this step, which are float32; those of the next are noted."""
        lr = float(group["lr"])
        together: dict[tuple[float, float], list[Tensor]] = {}
        for weight in weights:
            state = self.state[weight]
            pace = float(state.get("eta", np.float32(lr))), float(state.get("mu", 1.0))
            together.setdefault(pace, []).append(weight)
        eta, mu = lr / (1 + group["lambd"] * lr * step) ** group["alpha"], 1 / max(1, step - group["t0"])
        following = {"eta": Tensor.of(np.array(eta, np.float32)), "mu": Tensor.of(np.array(mu, np.float32))}
        for weight in weights:
            self.state[weight].update(following)
        return together.items()
