"""Task: what one kind of training does in its own way; the loop does the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medapps.inference import Card
from minidl import Tensor, nn

if TYPE_CHECKING:
    from medapps.recipe import Recipe

__all__ = ["Batch", "Task"]

Batch = tuple[NDArray[np.float32], NDArray[np.int64]]


class Task(ABC):
    """Data made ready for training, and how a network is taught and judged on them.

    name, digest: of the data. architecture: what `medapps.models.build_model` takes.
    images: how many training images an epoch shows; batch_size: how many of them a step.
    """

    recipe: Recipe
    name: str
    digest: str
    architecture: dict[str, Any]
    images: int
    batch_size: int

    @property
    def steps(self) -> int:
        """Steps an epoch. A last batch of one image has no variance for batch_norm: it waits for the next epoch."""
        return max(self.images // self.batch_size, 1)

    @abstractmethod
    def batches(self, epoch: int, order: np.random.Generator) -> Iterator[Batch]:
        """The epoch's augmented batches, `steps` of them; they depend on (seed, epoch) alone.

        order: draws which image comes when.
        """

    @abstractmethod
    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """How far the network's outputs are from the target: one number to go down."""

    @abstractmethod
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Figures on the validation split, each called `val_...`."""

    @abstractmethod
    def card(self, validation: dict[str, float]) -> Card:
        """What a model file says about the network whose figures are `validation`."""
