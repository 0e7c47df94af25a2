"""More losses as layers: divergences, likelihoods, margins, similarities, CTC, and overlap losses of segmentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl.core import Tensor
from minidl.errors import ArgumentError
from minidl.nn import functional as F
from minidl.nn.loss import _Loss, _WeightedLoss
from minidl.nn.module import Module

__all__ = [
    "CTCLoss", "CosineEmbeddingLoss", "FocalLoss", "GaussianNLLLoss", "GeneralizedDiceLoss", "HingeEmbeddingLoss",
    "KLDivLoss", "MarginRankingLoss", "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss", "MultiMarginLoss",
    "PoissonNLLLoss", "SoftMarginLoss", "TripletMarginLoss", "TripletMarginWithDistanceLoss", "TverskyLoss",
]  # fmt: skip


class KLDivLoss(Module):
    """target * (log(target) - input), averaged, for log-probabilities `input`; see `functional.kl_div`.

    Args:
        reduction: "mean" over all elements, "batchmean" over the first dimension, "sum" or "none".
        log_target: targets are log-probabilities too.
    """

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        if reduction not in ("mean", "batchmean", "sum", "none"):
            raise ArgumentError(f"KLDivLoss: reduction must be 'mean', 'batchmean', 'sum' or 'none', got {reduction!r}")
        self.reduction, self.log_target = reduction, log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class PoissonNLLLoss(_Loss):
    """The negative log-likelihood of counts for Poisson rates; arguments as for `functional.poisson_nll_loss`."""

    def __init__(
        self, log_input: bool = True, full: bool = False, *, eps: float = 1e-8, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.log_input, self.full, self.eps = log_input, full, eps

    def forward(self, log_input: Tensor, target: Tensor) -> Tensor:
        return F.poisson_nll_loss(log_input, target, self.log_input, self.full, eps=self.eps, reduction=self.reduction)


class GaussianNLLLoss(_Loss):
    """The negative log-likelihood for normal distributions of means and variances that are predicted."""

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.full, self.eps = full, eps

    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:
        return F.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class HingeEmbeddingLoss(_Loss):
    """The distance where target is 1, max(0, margin - distance) where it is -1, averaged."""

    def __init__(self, margin: float = 1.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.hinge_embedding_loss(input, target, self.margin, reduction=self.reduction)


class MarginRankingLoss(_Loss):
    """max(0, -target * (input1 - input2) + margin), averaged."""

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return F.margin_ranking_loss(input1, input2, target, self.margin, reduction=self.reduction)


class CosineEmbeddingLoss(_Loss):
    """1 - cosine for pairs with target 1, max(0, cosine - margin) with target -1, averaged."""

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return F.cosine_embedding_loss(input1, input2, target, self.margin, reduction=self.reduction)


class SoftMarginLoss(_Loss):
    """log(1 + exp(-target * input)) for targets of 1 and -1, averaged."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.soft_margin_loss(input, target, reduction=self.reduction)


class MultiLabelMarginLoss(_Loss):
    """Margins between each true class and each other one; targets list the true classes, then -1."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multilabel_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(_WeightedLoss):
    """Binary cross-entropy of each class's sigmoid, averaged over classes and batch."""

    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__(weight, reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multilabel_soft_margin_loss(input, target, self.weight, reduction=self.reduction)


class MultiMarginLoss(_WeightedLoss):
    """Margins between the true class and each other one; arguments as for `functional.multi_margin_loss`."""

    def __init__(
        self, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, *, reduction: str = "mean"
    ) -> None:
        super().__init__(weight, reduction)
        if p not in (1, 2):
            raise ArgumentError(f"MultiMarginLoss: p must be 1 or 2, got {p}")
        self.p, self.margin = p, margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multi_margin_loss(input, target, self.p, self.margin, self.weight, reduction=self.reduction)


class TripletMarginLoss(_Loss):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), averaged. Source: Balntas et al., BMVC 2016."""

    def __init__(
        self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False, *, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.margin, self.p, self.eps, self.swap = margin, p, eps, swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return F.triplet_margin_loss(
            anchor, positive, negative, self.margin, self.p, self.eps, self.swap, reduction=self.reduction
        )


class TripletMarginWithDistanceLoss(_Loss):
    """`TripletMarginLoss` with any distance; `functional.pairwise_distance` for None."""

    def __init__(
        self, *, distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0,
        swap: bool = False, reduction: str = "mean",
    ) -> None:  # fmt: skip
        super().__init__(reduction)
        self.distance_function, self.margin, self.swap = distance_function, margin, swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return F.triplet_margin_with_distance_loss(
            anchor, positive, negative, distance_function=self.distance_function, margin=self.margin, swap=self.swap,
            reduction=self.reduction,
        )  # fmt: skip


class CTCLoss(_Loss):
    """Minus the log-probability of a label sequence over all alignments. Source: Graves et al., ICML 2006.

    Args:
        blank: the class that stands for no label.
        reduction: "mean" divides each loss by its target's length first; "sum" or "none".
        zero_infinity: count a target that is longer than its input allows as zero.
    """

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction)
        self.blank, self.zero_infinity = blank, zero_infinity

    def forward(self, log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any) -> Tensor:
        return F.ctc_loss(
            log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction, self.zero_infinity
        )


class FocalLoss(_Loss):
    """Binary cross-entropy of logits, easy examples weighted down. Not in PyTorch. Source: Lin et al., ICCV 2017."""

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.alpha, self.gamma = alpha, gamma

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.sigmoid_focal_loss(input, target, self.alpha, self.gamma, self.reduction)


class TverskyLoss(_Loss):
    """Overlap with a price for false alarms and one for misses; arguments as for `functional.tversky_loss`."""

    def __init__(
        self, *, alpha: float = 0.3, beta: float = 0.7, gamma: float = 1.0, smooth: float = 1.0, batch: bool = True,
        reduction: str = "mean",
    ) -> None:  # fmt: skip
        super().__init__(reduction)
        self.options = {"alpha": alpha, "beta": beta, "gamma": gamma, "smooth": smooth}
        self.batch = batch

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.tversky_loss(input, target, batch=self.batch, reduction=self.reduction, **self.options)


class GeneralizedDiceLoss(_Loss):
    """Overlap in which each class counts by the inverse square of its size. Source: Sudre et al., DLMIA 2017."""

    def __init__(self, *, smooth: float = 1e-5, batch: bool = True, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.smooth, self.batch = smooth, batch

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.generalized_dice_loss(input, target, smooth=self.smooth, batch=self.batch, reduction=self.reduction)
