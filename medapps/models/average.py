"""WeightAverage: the running mean of the weights, which generalises better than the last step's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minidl import nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """Exponential moving average of all that a model's state_dict holds; counters are copied.

    decay: share of the old average kept a step. In the first steps less is kept, (1 + step) / (10 + step), so that
        the random start is soon forgotten. 0 keeps the last weights alone.

    Source: Polyak and Juditsky, SIAM J. Control Optim. 30 (1992); the warm-up is that of TensorFlow's
    ExponentialMovingAverage.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.step = decay, 0
        self.arrays: dict[str, NDArray[Any]] = {name: t.numpy().copy() for name, t in model.state_dict().items()}

    def update(self, model: nn.Module) -> None:
        """Take in the model's weights after one more step."""
        self.step += 1
        keep = min(self.decay, (1 + self.step) / (10 + self.step))
        for name, tensor in model.state_dict().items():
            mean, now = self.arrays[name], tensor.numpy()
            if mean.dtype.kind == "f":
                mean += np.asarray(1 - keep, mean.dtype) * (now - mean)
            else:
                mean[...] = now

    def load(self, arrays: Mapping[str, NDArray[Any]], step: int) -> None:
        """Go on from `arrays`, reached after `step` updates."""
        self.arrays, self.step = {name: np.array(arrays[name]) for name in self.arrays}, step
