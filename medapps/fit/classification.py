"""One label an image: cross-entropy, balanced classes, figures by probability."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medapps.device import on
from medapps.errors import InputError
from medapps.fit.task import Batch, Task
from medapps.inference import Card, predict_probabilities
from medapps.losses import class_weights, classification_loss
from medapps.metrics import macro_area, named_figures
from medapps.models import describe_model
from medapps.order import balanced_tickets, tickets
from medapps.transforms import Compose, augmentations, augmented
from minidl import Tensor, nn

if TYPE_CHECKING:
    from medapps.readers import ClassificationData
    from medapps.recipe import Recipe

__all__ = ["ClassificationTask"]


class ClassificationTask(Task):
    """Teach which class an image is of."""

    def __init__(self, recipe: Recipe, data: ClassificationData) -> None:
        _check(data)
        named_figures(recipe.metrics)  # better now than after the training
        self.recipe, self.data, self.name, self.digest = recipe, data, data.name, data.digest
        self.preparation = Compose.from_list(recipe.prepare).fit(data.train.images)
        self.augment = augmentations(recipe.augment)
        self.train_images = self.preparation.apply(data.train.images)
        self.val_images = self.preparation.apply(data.val.images)
        own = {"widths": list(recipe.widths), "regions": recipe.regions, "dropout": recipe.dropout}
        channels = int(self.train_images.shape[1])
        self.architecture = describe_model(recipe.model, channels, len(data.classes), own, recipe.options)
        labels = data.train.labels
        self.batch_size = min(recipe.batch_size, len(labels))
        self.images = len(labels)
        if recipe.balance == "sample":
            self.images = len(balanced_tickets(labels, np.random.default_rng(0)))
        self.weights: NDArray[np.float32] | None = None
        if recipe.balance == "weights":
            self.weights = class_weights(labels, len(data.classes))

    def batches(self, epoch: int, order: np.random.Generator) -> Iterator[Batch]:
        labels = self.data.train.labels
        balanced = self.recipe.balance == "sample"
        shown = balanced_tickets(labels, order) if balanced else tickets(len(labels), order)
        for i in range(self.steps):
            drawn = shown[i * self.batch_size : (i + 1) * self.batch_size]
            rows = drawn % len(labels)
            yield augmented(self.train_images[rows], self.augment, self.recipe.seed, epoch, drawn), labels[rows]

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        weights = None if self.weights is None else on(outputs.device, self.weights)
        return classification_loss(outputs, target, weights, self.recipe.label_smoothing)

    def validate(self, model: nn.Module) -> dict[str, float]:
        labels = self.data.val.labels
        p = predict_probabilities(model, self.val_images, views=self.recipe.views)
        weights = class_weights(labels, p.shape[1]) if self.recipe.balance != "none" else np.ones(p.shape[1])
        loss = -np.log(np.maximum(p[np.arange(len(labels)), labels], 1e-12))
        found = p.argmax(1) == labels
        return {
            "val_loss": float(np.average(loss, weights=weights[labels])),
            "val_auc": macro_area(p, labels),
            "val_accuracy": float(found.mean()),
            "val_balanced_accuracy": float(np.mean([found[labels == k].mean() for k in range(p.shape[1])])),
        }

    def card(self, validation: dict[str, float]) -> Card:
        data, (channels, height, width) = self.data, self.data.train.images.shape[1:]
        return Card(
            architecture=self.architecture,
            preparation=tuple(self.preparation.to_list()),
            input_shape=(channels, height, width),
            classes=data.classes,
            modalities=self.recipe.modalities,
            views=self.recipe.views,
            recipe=self.recipe.to_dict(),
            data={"name": data.name, "digest": data.digest, "synthetic": data.synthetic},
            validation=validation,
        )


def _check(data: ClassificationData) -> None:
    """One sentence for data that cannot tell a good epoch from a bad one."""
    counts = np.bincount(data.val.labels, minlength=len(data.classes))
    if (counts == 0).any():
        empty = data.classes[int(np.argmin(counts))]
        raise InputError(f"{data.name}: class {empty!r} has no image in the validation split; add some or drop it")
    if len(data.train) < 2:
        raise InputError(f"{data.name}: at least 2 training images are needed, got {len(data.train)}")
