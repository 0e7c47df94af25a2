"""NAdam: Adam with Nesterov's look ahead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from minidl.core import Tensor
from minidl.ops.steps import NAdamStep, nadam_momentum
from minidl.optim.optimizer import Group, MomentOptimizer, check_not_differentiable, gradients

__all__ = ["NAdam"]


class NAdam(MomentOptimizer):
    """NAdam; the formula is that of `minidl.ops.steps.NAdamStep`.

    Args:
        params: weights, or groups of them.
        lr: learning rate, about the length of a step.
        betas: shares of the running means of the gradient and of its square that are kept.
        eps: added to the root that is divided by.
        weight_decay: pull towards zero, as part of the gradient (L2).
        momentum_decay: how fast momentum warms up: beta1 * (1 - 0.96^(t * momentum_decay) / 2) in step t.
        decoupled_weight_decay: decay the weights themselves, as AdamW does.
        maximize: go up instead.
        foreach, capturable: PyTorch's ways to compute the same; ignored.
        differentiable: must be False.

    Source: Dozat, ICLR 2016 workshop.
    """

    others = ("momentum_decay",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_not_differentiable(self, differentiable)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def change(self, weights: list[Tensor], group: Group) -> None:
        settings = {**self.moment_settings(group), "momentum_decay": group["momentum_decay"]}
        for step, counted in self.counted(weights):
            mu = nadam_momentum(step, settings["beta1"], group["momentum_decay"])
            for product, some in self._multiplied(counted, mu):
                state = self.remembered("exp_avg", some), self.remembered("exp_avg_sq", some)
                NAdamStep.apply(some, *state, gradients(some), step=step, mu_product=product, **settings)

    def _multiplied(self, weights: list[Tensor], mu: float) -> list[tuple[float, list[Tensor]]]:
        """Take `mu` into each weight's product of all momenta, a float32 as in PyTorch; the weights by that product."""
        together: dict[float, list[Tensor]] = {}
        for weight in weights:
            before = self.state[weight].get("mu_product", 1.0)
            together.setdefault(float(before), []).append(weight)
        found = []
        for before, some in together.items():
            product = np.float32(before) * np.float32(mu)
            shared = Tensor.of(np.array(product))
            for weight in some:
                self.state[weight]["mu_product"] = shared
            found.append((float(product), some))
        return found
