"""WeightAverage: the running mean of the weights, which generalises better than the last step's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.device import on
from minidl import nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """Exponential moving average of all that a model's state_dict holds; counters are copied.

    decay: share of the old average kept a step. In the first steps less is kept, (1 + step) / (10 + step), so that
        the random start is soon forgotten. 0 keeps the last weights alone.

    The average lies on the model's device: only a checkpoint needs it on the host, and a step should not wait for it.

    Source: Polyak and Juditsky, SIAM J. Control Optim. 30 (1992); the warm-up is that of TensorFlow's
    ExponentialMovingAverage.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.step = decay, 0
        self.tensors = {name: t.clone() for name, t in model.state_dict().items()}

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The average on the host, for a checkpoint; on the CPU they share memory with `tensors`."""
        return {name: t.numpy() for name, t in self.tensors.items()}

    def update(self, model: nn.Module) -> None:
        """Take in the model's weights after one more step."""
        self.step += 1
        keep = min(self.decay, (1 + self.step) / (10 + self.step))
        for name, tensor in model.state_dict().items():
            mean, now = self.tensors[name].array, tensor.array
            if mean.dtype.kind == "f":
                mean += (1 - keep) * (now - mean)
            else:
                mean[...] = now

    def load(self, arrays: Mapping[str, NDArray[Any]], step: int) -> None:
        """Go on from `arrays`, reached after `step` updates."""
        self.tensors = {name: on(t.device, np.array(arrays[name])) for name, t in self.tensors.items()}
        self.step = step
