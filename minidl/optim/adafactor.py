"""Adafactor: scales each gradient by its size as Adam does, and remembers of a matrix its rows and columns alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from minidl.core import Tensor
from minidl.create import zeros, zeros_like
from minidl.element_types import finfo
from minidl.ops import clamp, lerp, mean, rsqrt, square
from minidl.ops.many import ScaleAll, sums_of_squares
from minidl.ops.sgd_step import SGDStep
from minidl.ops.steps import AdafactorStep
from minidl.optim.optimizer import Group, Optimizer, check_at_least_zero, gradients, require

__all__ = ["Adafactor"]


class Adafactor(Optimizer):
    """Adafactor: steps in the size of the weights, along g / √(mean of g²).

        share = t^beta2_decay                        (of the newest gradient in all means)
        rows, columns: means of g² over the last dimension and the last but one, of weights that have two; their
        product, divided by the mean of rows, stands for the mean of g² of each element. Vectors keep that itself.
        change = g / √mean                           (the mean is held above eps1²)
        p -= rate * change / max(1, rms(change) / d) with rate = min(lr, 1 / √t) * max(eps2, rms(p))

    Args:
        params: weights, or groups of them.
        lr: the largest step, relative to the weights.
        beta2_decay: power of t by which the share of the newest gradient falls.
        eps: (eps1, eps2); eps1 None is the rounding of the weight's type.
        d: how large a change may be.
        weight_decay: pull towards zero, of the weights themselves: p *= 1 - lr * weight_decay.
        foreach: PyTorch's ways to compute the same; ignored.
        maximize: go up instead.

    Source: Shazeer and Stern, arXiv:1804.04235, algorithm 4 and 5, with PyTorch's settings.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        check_at_least_zero(self, group, "lr", "weight_decay")
        require(self, "beta2_decay", group["beta2_decay"], group["beta2_decay"] <= 0, "0 or less")
        require(self, "d", group["d"], group["d"] >= 1, "1 or more")
        first, second = group["eps"]
        fits = (first is None or first >= 0) and second >= 0
        require(self, "eps", group["eps"], fits, "two numbers of 0 or more, of which the first may be None")

    def remembered_shape(self, key: str, weight: Tensor) -> tuple[int, ...]:
        shape = list(weight.shape)
        if key in ("row_var", "col_var"):
            shape[-1 if key == "row_var" else -2] = 1
        return tuple(shape)

    def change(self, weights: list[Tensor], group: Group) -> None:
        lr, decay = float(group["lr"]), group["weight_decay"]
        for step, some in self.counted(weights):
            rate = min(lr, 1 / math.sqrt(step))
            rates = [rate * max(group["eps"][1], size) for size in _sizes(some)]
            if decay:
                ScaleAll.apply(some, factor=1 - lr * decay)
            changes = self._changes(some, step ** group["beta2_decay"], group["eps"][0])
            for weight, change, rate, size in zip(some, changes, rates, _sizes(changes), strict=True):
                held = rate / max(1.0, size / group["d"])
                SGDStep.apply([weight], [change], lr=held, weight_decay=0.0, maximize=group["maximize"])

    def _changes(self, weights: list[Tensor], share: float, eps: float | None) -> list[Tensor]:
        """What each weight is changed by, but for its rate; the means of squares take in the gradients."""
        floors = {w.dtype: finfo(w.dtype).eps if eps is None else eps for w in weights}
        changes = {id(w): self._of_matrix(w, share, floors[w.dtype]) for w in weights if w.ndim > 1}
        for dtype, floor in floors.items():
            if vectors := [w for w in weights if w.ndim < 2 and w.dtype == dtype]:
                targets = [zeros_like(w) for w in vectors]
                variances = self.remembered("variance", vectors)
                AdafactorStep.apply(vectors, variances, targets, gradients(vectors), share=share, floor=floor**2)
                changes.update({id(w): target for w, target in zip(vectors, targets, strict=True)})
        return [changes[id(w)] for w in weights]

    def _of_matrix(self, weight: Tensor, share: float, floor: float) -> Tensor:
        state, (grad,) = self.state[weight], gradients([weight])
        squares = square(grad)
        for key, dim in (("row_var", -1), ("col_var", -2)):
            if key not in state:
                shape = self.remembered_shape(key, weight)
                state[key] = zeros(*shape, dtype=weight.dtype, device=weight.device)
            state[key].copy_(lerp(state[key], mean(squares, dim, keepdim=True), share))
        rows = state["row_var"] / clamp(mean(state["row_var"], -2, keepdim=True), min=floor)
        return grad * rsqrt(clamp(rows * state["col_var"], min=floor**2))


def _sizes(tensors: list[Tensor]) -> list[float]:
    """The root of the mean of the squares of each tensor."""
    sums = sums_of_squares(tensors).tolist()
    return [math.sqrt(total / max(t.numel(), 1)) for total, t in zip(sums, tensors, strict=True)]
