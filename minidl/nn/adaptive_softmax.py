"""Softmax over very many classes: the frequent ones are told apart first, the rare ones cluster by cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minidl.core import Tensor
from minidl.device import Device
from minidl.device.dtypes import DType
from minidl.errors import ArgumentError, ShapeError
from minidl.nn.containers import ModuleList, Sequential
from minidl.nn.linear import Linear
from minidl.nn.module import Module
from minidl.ops import argmax, cat, gather, index_add, log_softmax, where

__all__ = ["AdaptiveLogSoftmaxWithLoss"]


class _Output(NamedTuple):
    """The logarithm of the probability of each target, and the mean of their negatives."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """log softmax and negative log likelihood over classes that are sorted by frequency, the most frequent first.

    The head scores the classes before the first cutoff and one further entry for each cluster; the classes from one
    cutoff to the next are a cluster, and have scores of their own, made from fewer and fewer features.

    Args:
        in_features: D.
        n_classes: how many classes there are.
        cutoffs: increasing class numbers, above 0 and below n_classes, that cut the classes into clusters.
        div_value: cluster number i, from 1 on, is scored from D // div_value^i features.
        head_bias: add a learned number to each score of the head.

    Raises:
        ArgumentError: if `cutoffs` are no such numbers.

    Source: Grave et al., ICML 2017.
    """

    def __init__(
        self, in_features: int, n_classes: int, cutoffs: Sequence[int], div_value: float = 4.0,
        head_bias: bool = False, device: Device | str | None = None, dtype: DType | None = None,
    ) -> None:  # fmt: skip
        cuts = [int(cut) for cut in cutoffs]
        if not cuts or cuts != sorted(set(cuts)) or cuts != list(cutoffs) or cuts[0] <= 0 or cuts[-1] > n_classes - 1:
            raise ArgumentError("AdaptiveLogSoftmaxWithLoss: cutoffs must be increasing whole numbers from 1 to "
                                f"n_classes - 1 = {n_classes - 1}, got {list(cutoffs)}")  # fmt: skip
        self.in_features, self.n_classes, self.cutoffs = in_features, n_classes, [*cuts, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size, self.n_clusters = cuts[0], len(cuts)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, head_bias, device, dtype)
        self.tail = ModuleList()
        for i, (low, high) in enumerate(self._clusters()):
            width = int(in_features // div_value ** (i + 1))
            narrowed = Linear(in_features, width, False, device, dtype)
            self.tail.append(Sequential(narrowed, Linear(width, high - low, False, device, dtype)))

    def _clusters(self) -> list[tuple[int, int]]:
        """The first class of each cluster, and one behind its last."""
        return list(zip(self.cutoffs, self.cutoffs[1:], strict=False))

    def reset_parameters(self) -> None:
        """Draw the starting values again."""
        for part in self.modules():
            if isinstance(part, Linear):
                part.reset_parameters()

    def forward(self, input: Tensor, target: Tensor) -> _Output:
        """The log probabilities of the targets, (N,), and their loss.

        Args:
            input: (N, D), or (D,).
            target: (N,) class numbers, or one without dimensions.

        Raises:
            ShapeError: if shapes do not fit.
            ArgumentError: if a target is no class.
        """
        if input.ndim not in (1, 2) or target.shape != input.shape[:-1]:
            raise ShapeError("AdaptiveLogSoftmaxWithLoss: input must be (N, D) or (D,), and target (N,) or (), got "
                             f"{input.shape} and {target.shape}")  # fmt: skip
        rows, classes = (input, target) if input.ndim == 2 else (input.unsqueeze(0), target.unsqueeze(0))
        if classes.numel() and not 0 <= int(classes.array.min()) <= int(classes.array.max()) < self.n_classes:
            raise ArgumentError(
                f"AdaptiveLogSoftmaxWithLoss: targets must lie from 0 to {self.n_classes - 1}, got "
                f"{int(classes.array.min())} to {int(classes.array.max())}"
            )
        output = self._of_targets(rows, classes)
        loss = -output.mean()
        return _Output(output if input.ndim == 2 else output.squeeze(0), loss)

    def _of_targets(self, rows: Tensor, classes: Tensor) -> Tensor:
        """The log probabilities of `classes`: the head's, and for those of a cluster what that adds."""
        cluster = np.searchsorted(self.cutoffs, classes.cpu().array, side="right")  # 0 for the head
        entries = np.where(cluster == 0, classes.cpu().array, self.shortlist_size + cluster - 1)
        entry = Tensor.of(entries).to(rows.device).unsqueeze(1)
        output = gather(log_softmax(self.head(rows), 1), 1, entry).squeeze(1)
        for i, (low, _) in enumerate(self._clusters()):
            (places,) = np.nonzero(cluster == i + 1)
            if len(places):
                at = Tensor.of(places).to(rows.device)
                scores = log_softmax(self.tail[i](rows[at]), 1)
                output = index_add(output, 0, at, gather(scores, 1, (classes[at] - low).unsqueeze(1)).squeeze(1))
        return output

    def log_prob(self, input: Tensor) -> Tensor:
        """The log probabilities of all classes: (N, D) to (N, n_classes)."""
        head = log_softmax(self.head(input), 1)
        parts = [head[:, : self.shortlist_size]]
        for i, tail in enumerate(self.tail):
            parts.append(log_softmax(tail(input), 1) + head[:, self.shortlist_size + i].unsqueeze(1))
        return cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """The most probable class of each row, (N, D) to (N,); clusters are scored only if the head chooses one."""
        best = argmax(self.head(input).detach(), 1)
        is_frequent = best < self.shortlist_size
        if bool(is_frequent.array.all()):
            return best
        return where(is_frequent, best, argmax(self.log_prob(input).detach(), 1))
