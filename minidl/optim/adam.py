"""Adam and AdamW: steps scaled, weight by weight, by how large gradients have been."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from minidl.core import Tensor
from minidl.ops.adam_step import adam_step
from minidl.optim.optimizer import Group, Optimizer, require

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
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
        foreach, fused: PyTorch's ways to compute the same; ignored.

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
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        for setting in ("lr", "eps", "weight_decay"):
            require(self, setting, group[setting], group[setting] >= 0, "0 or more")
        fits = len(group["betas"]) == 2 and all(0 <= beta < 1 for beta in group["betas"])
        require(self, "betas", group["betas"], fits, "two numbers from 0 up to, not including, 1")

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: Group) -> None:
        if not state:
            state["step"] = Tensor.of(np.zeros((), np.float32))
            state["exp_avg"], state["exp_avg_sq"] = _zeros(param), _zeros(param)
        if group["amsgrad"] and "max_exp_avg_sq" not in state:
            state["max_exp_avg_sq"] = state["exp_avg_sq"].clone()
        step = int(state["step"]) + 1
        state["step"] = Tensor.of(np.array(step, np.float32))
        adam_step(
            param, grad, state["exp_avg"], state["exp_avg_sq"],
            state["max_exp_avg_sq"] if group["amsgrad"] else None,
            step=step, lr=float(group["lr"]), beta1=group["betas"][0], beta2=group["betas"][1], eps=group["eps"],
            weight_decay=group["weight_decay"], decoupled=group["decoupled_weight_decay"], maximize=group["maximize"],
        )  # fmt: skip


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
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True)


def _zeros(param: Tensor) -> Tensor:
    return Tensor.of(param.device.xp.zeros_like(param.array))
