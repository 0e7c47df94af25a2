"""SGD: stochastic gradient descent, with momentum if asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minidl.core import Tensor
from minidl.ops.sgd_step import sgd_step
from minidl.optim.optimizer import Group, Optimizer, require

__all__ = ["SGD"]


class SGD(Optimizer):
    """Down the gradient; the formula is that of `minidl.ops.sgd_step`.

    Args:
        params: weights, or groups of them.
        lr: learning rate, the length of a step per unit of gradient.
        momentum: share of the last step's velocity that is kept; 0 for none.
        dampening: share of the gradient that does not enter the velocity.
        weight_decay: pull towards zero, as part of the gradient (L2).
        nesterov: look ahead along the velocity; needs momentum and no dampening.
        maximize: go up instead.
        foreach, fused: PyTorch's ways to compute the same; ignored.

    Source: Sutskever et al., ICML 2013.

    >>> weight = Tensor([1.0], requires_grad=True)
    >>> (weight * weight).sum().backward()
    >>> SGD([weight], lr=0.25).step()
    >>> weight.item()
    0.5
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        for setting in ("lr", "momentum", "weight_decay"):
            require(self, setting, group[setting], group[setting] >= 0, "0 or more")
        fits = not group["nesterov"] or (group["momentum"] > 0 and group["dampening"] == 0)
        require(self, "nesterov", "momentum {momentum}, dampening {dampening}".format(**group), fits,
                "used with momentum above 0 and dampening 0")  # fmt: skip

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: Group) -> None:
        settings = {key: group[key] for key in ("weight_decay", "maximize")}
        if not group["momentum"]:
            sgd_step(param, grad, lr=float(group["lr"]), **settings)
            return
        velocity = state.get("momentum_buffer")
        dampening = group["dampening"]
        if velocity is None:  # the first gradient enters whole, as in PyTorch
            velocity = state["momentum_buffer"] = Tensor.of(param.device.xp.zeros_like(param.array))
            dampening = 0.0
        sgd_step(
            param, grad, velocity, lr=float(group["lr"]), momentum=group["momentum"], dampening=dampening,
            nesterov=group["nesterov"], **settings,
        )  # fmt: skip
