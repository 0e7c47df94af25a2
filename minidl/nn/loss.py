"""Losses as layers: a prediction and the truth in, one number out (or one for each element: reduction="none")."""

from __future__ import annotations

from minidl.core import Tensor
from minidl.errors import ArgumentError
from minidl.nn import functional as F
from minidl.nn.module import Module

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "DiceLoss", "HuberLoss", "L1Loss", "MSELoss", "NLLLoss",
    "SmoothL1Loss",
]  # fmt: skip


class _Loss(Module):
    """A loss with a `reduction`: "mean", "sum" or "none"."""

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in ("mean", "sum", "none"):
            raise ArgumentError(f"{type(self).__name__}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
        self.reduction = reduction


class _WeightedLoss(_Loss):
    """A loss with a factor for each class or element, kept as a buffer so that it moves with the module."""

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)


class CrossEntropyLoss(_WeightedLoss):
    """-log softmax(input)[target], averaged.

    Takes logits (N, C, d1, ...) - no softmax before it - and classes (N, d1, ...) of int64, or class probabilities in
    the shape of the logits.

    Args:
        weight: (C,), a factor for each class; the mean is then a weighted mean.
        ignore_index: targets with this value count for nothing.
        reduction: "mean", "sum" or "none".
        label_smoothing: share of the probability that is spread evenly over all classes, 0 to 1.

    >>> CrossEntropyLoss()(Tensor([[0.0, 0.0]]), Tensor([1]).long())
    tensor(0.6931472)
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, reduction)
        if not 0 <= label_smoothing <= 1:
            raise ArgumentError(f"CrossEntropyLoss: label_smoothing must be from 0 to 1, got {label_smoothing}")
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(_WeightedLoss):
    """-input[target], averaged, for log-probabilities (N, C, d1, ...); arguments as for `CrossEntropyLoss`."""

    def __init__(self, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class BCELoss(_WeightedLoss):
    """Binary cross-entropy of probabilities (any shape) and targets from 0 to 1.

    `BCEWithLogitsLoss` is more exact: near 0 and 1 a probability has no room for what the logit knew.
    """

    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__(weight, reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_WeightedLoss):
    """Binary cross-entropy of sigmoid(input) (any shape) and targets from 0 to 1.

    Args:
        weight: a factor for each element, broadcast to the input.
        reduction: "mean", "sum" or "none".
        pos_weight: a factor for the positive part, broadcast to the input: above 1 it favours sensitivity.
    """

    pos_weight: Tensor | None

    def __init__(
        self, weight: Tensor | None = None, *, reduction: str = "mean", pos_weight: Tensor | None = None
    ) -> None:
        super().__init__(weight, reduction)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class MSELoss(_Loss):
    """(input - target)², averaged; both of one shape."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """|input - target|, averaged; both of one shape."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """Squared below `beta`, straight above, with slope 1; averaged. Source: Girshick, ICCV 2015, eq. 3."""

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    """Squared below `delta`, straight above, with slope `delta`; averaged."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class DiceLoss(_Loss):
    """One minus the overlap of predicted and true regions, averaged over classes. Not in PyTorch.

    Takes probabilities (N, C, d1, ...) and classes (N, d1, ...) of int64, or memberships in the shape of the input.

    Args:
        smooth: keeps the loss of a class that is in neither at 0, and its gradient finite.
        batch: sum over the whole batch; False for each image alone.
        reduction: "mean", "sum" or "none".
    """

    def __init__(self, *, smooth: float = 1.0, batch: bool = True, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.smooth, self.batch = smooth, batch

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.soft_dice_loss(input, target, smooth=self.smooth, batch=self.batch, reduction=self.reduction)
