"""Dropout: in training a random share of the signals is set to zero and the rest scaled up; in eval nothing happens."""

from __future__ import annotations

from minidl.core import Tensor
from minidl.errors import ArgumentError
from minidl.nn import functional as F
from minidl.nn.module import Module

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]


class Dropout(Module):
    """Zero each element with probability `p` while training. Any shape. Source: Srivastava et al., JMLR 15 (2014)."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        if not 0 <= p <= 1:
            raise ArgumentError(f"{type(self).__name__}: p must be from 0 to 1, got {p}")
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout2d(Dropout):
    """Zero each channel (N, C, H, W) as a whole with probability `p` while training.

    Neighbouring pixels are too alike for dropping single ones to matter. Source: Tompson et al., CVPR 2015.
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout2d(input, self.p, self.training)


class Dropout1d(Dropout):
    """Zero each channel (N, C, L) as a whole with probability `p` while training."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout1d(input, self.p, self.training)


class Dropout3d(Dropout):
    """Zero each channel (N, C, D, H, W) as a whole with probability `p` while training."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout3d(input, self.p, self.training)


class AlphaDropout(Dropout):
    """Dropout that keeps mean 0 and variance 1 behind SELU. Source: Klambauer et al., NeurIPS 2017."""

    def forward(self, input: Tensor) -> Tensor:
        return F.alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(Dropout):
    """`AlphaDropout` of whole channels (N, C, ...)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.feature_alpha_dropout(input, self.p, self.training)
