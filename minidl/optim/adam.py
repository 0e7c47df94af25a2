"""Adam and AdamW: steps scaled, weight by weight, by how large gradients have been."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minidl.core import Tensor
from minidl.ops.adam_step import AdamStep, AMSGradStep
from minidl.optim.optimizer import Group, MomentOptimizer, check_not_differentiable, gradients

__all__ = ["Adam", "AdamW"]


class Adam(MomentOptimizer):
    """Adam; the formula is that of `minidl.ops.adam_step`.

    Args:
        params: weights, or groups of them.
        lr: learning rate, about the length of a step.
        betas: shares of the running means of the gradient and of its square that are kept.
        eps: added to the root that is divided by.
        weight_decay: pull towards zero, as part of the gradient (L2).
        amsgrad: divide by the largest running mean so far.
        maximize: go up instead.
        decoupled_weight_decay: decay the weights themselves, as AdamW does.
        foreach, fused, capturable: PyTorch's ways to compute the same; ignored.
        differentiable: must be False.

    Source: Kingma and Ba, ICLR 2015.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check_not_differentiable(self, differentiable)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        super().__init__(params, defaults)

    def change(self, weights: list[Tensor], group: Group) -> None:
        settings = self.moment_settings(group)
        for step, some in self.counted(weights):
            state = [self.remembered("exp_avg", some), self.remembered("exp_avg_sq", some)]
            if group["amsgrad"]:
                state.append(self.largest(some))
            op = AMSGradStep if group["amsgrad"] else AdamStep
            op.apply(some, *state, gradients(some), step=step, **settings)

    def largest(self, weights: list[Tensor]) -> list[Tensor]:
        """The largest second moment of each weight so far; that of now if it was not asked for before."""
        for weight in weights:
            state = self.state[weight]
            if "max_exp_avg_sq" not in state:
                state["max_exp_avg_sq"] = state["exp_avg_sq"].clone()
        return self.remembered("max_exp_avg_sq", weights)


class AdamW(Adam):
    """Adam whose weight decay shrinks the weights themselves, untouched by the scaling of the gradient.

    Arguments as for `Adam`; `weight_decay` is 0.01 unless given. Source: Loshchilov and Hutter, ICLR 2019.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, differentiable=differentiable,
            decoupled_weight_decay=True,
        )  # fmt: skip
