"""fit: train a classifier as a recipe says, so that it can be stopped at any moment and go on bit for bit.

What an epoch does depends on the recipe, the data and the checkpoint alone: order and augmentation are drawn from
(seed, epoch), the learning rate is a function of the step. The checkpoint holds the rest, and is written before the
first epoch and after each.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

import minidl
from medapps.errors import InputError
from medapps.files import make_folder, write_json
from medapps.inference import Card, Classifier, predict_probabilities, save_model
from medapps.losses import class_weights, classification_loss
from medapps.metrics import macro_area
from medapps.models import WeightAverage, build_model
from medapps.order import balanced_tickets, tickets
from medapps.schedule import learning_rate
from medapps.transforms import Compose, augmentations, augmented
from minidl import Tensor, nn, optim
from minidl.io import read_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from medapps.readers import ClassificationData
    from medapps.recipe import Recipe

__all__ = ["History", "Progress", "fit"]

CHECKPOINT, HISTORY, MODEL = "checkpoint.safetensors", "history.json", "model.safetensors"


@dataclass(frozen=True)
class History:
    """What each epoch gave, and which was best (0: none yet).

    rows: epoch, train_loss, val_loss, val_auc, val_accuracy, val_balanced_accuracy, lr, seconds.
    """

    rows: tuple[dict[str, float], ...]
    best_epoch: int


class Progress(Protocol):
    """Whoever wants to be told how training goes."""

    def start(self, epochs: int, done: int, steps: int) -> None: ...
    def step(self, loss: float) -> None: ...
    def epoch(self, row: dict[str, float], best: bool) -> None: ...


def fit(
    recipe: Recipe,
    data: ClassificationData,
    run_folder: str | Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> History:
    """Train on `data.train`, judge each epoch on `data.val`, keep the best; `data.test` is not touched.

    Writes into `run_folder`: model.safetensors (the best epoch so far), checkpoint.safetensors, history.json.

    resume: go on from the checkpoint there; the result is the same, bit for bit, as without the stop.
    progress: told of each step and each epoch.

    Raises:
        InputError: if the data cannot be trained on, or the checkpoint belongs to another recipe or other data.
        OutputError: if something could not be written.
    """
    check_data(data)
    folder = make_folder(run_folder)
    trainer = Trainer(recipe, data)
    if resume:
        trainer.load(folder / CHECKPOINT)
    else:
        trainer.save(folder / CHECKPOINT)
    if progress:
        progress.start(recipe.epochs, len(trainer.rows), trainer.steps)
    while not trainer.is_finished:
        row = trainer.train_epoch(progress)
        best = trainer.judge(row)
        if best:  # before the checkpoint: if the power fails in between, the same epoch is made and kept again
            save_model(folder / MODEL, trainer.classifier(row))
        trainer.save(folder / CHECKPOINT)
        write_json(folder / HISTORY, trainer.rows)
        if progress:
            progress.epoch(row, best)
    return History(tuple(trainer.rows), trainer.best_epoch)


def check_data(data: ClassificationData) -> None:
    """One sentence for data that cannot tell a good epoch from a bad one."""
    counts = np.bincount(data.val.labels, minlength=len(data.classes))
    if (counts == 0).any():
        empty = data.classes[int(np.argmin(counts))]
        raise InputError(f"{data.name}: class {empty!r} has no image in the validation split; add some or drop it")
    if len(data.train) < 2:
        raise InputError(f"{data.name}: at least 2 training images are needed, got {len(data.train)}")


class Trainer:
    """The state of one training run, and the steps that change it."""

    def __init__(self, recipe: Recipe, data: ClassificationData) -> None:
        self.recipe, self.data = recipe, data
        self.random = minidl.Generator(recipe.seed)
        self.preparation = Compose.from_list(recipe.prepare).fit(data.train.images)
        self.augment = augmentations(recipe.augment)
        self.train_images = self.preparation.apply(data.train.images)
        self.val_images = self.preparation.apply(data.val.images)
        self.architecture = {
            "name": recipe.model,
            "in_channels": int(self.train_images.shape[1]),
            "classes": len(data.classes),
            "widths": list(recipe.widths),
            "regions": recipe.regions,
            "dropout": recipe.dropout,
        }
        self.judged = build_model(self.architecture)
        minidl.manual_seed(recipe.seed)
        self.model = build_model(self.architecture)
        self.average = WeightAverage(self.model, recipe.average)
        self.optimizer = _optimizer(self.model, recipe)
        self.weights = _loss_weights(recipe, data)
        # A last batch of one image has no variance for batch_norm: what is left over waits for the next epoch's order.
        self.batch_size = min(recipe.batch_size, len(data.train))
        self.steps = len(data.train) // self.batch_size
        if recipe.balance == "sample":
            self.steps = max(len(balanced_tickets(data.train.labels, np.random.default_rng(0))) // self.batch_size, 1)
        self.rows: list[dict[str, float]] = []
        self.best_epoch = 0

    @property
    def is_finished(self) -> bool:
        done = len(self.rows)
        return done >= self.recipe.epochs or done - self.best_epoch >= self.recipe.patience

    def train_epoch(self, progress: Progress | None) -> dict[str, float]:
        """One pass over the training split, then the figures on the validation split."""
        epoch, start, total = len(self.rows), time.perf_counter(), 0.0
        self.model.train()
        for i, (images, labels) in enumerate(self.batches(epoch)):
            rate = learning_rate(self.recipe, epoch * self.steps + i, self.recipe.epochs * self.steps)
            total += self.train_step(images, labels, rate)
            if progress:
                progress.step(total / (i + 1))
        if not np.isfinite(total):
            raise InputError(f"training: the loss became {total} in epoch {epoch + 1}; lower lr ({self.recipe.lr})")
        figures = self.validate()
        return {
            "epoch": epoch + 1,
            "train_loss": total / self.steps,
            **figures,
            "lr": rate,
            "seconds": time.perf_counter() - start,
        }

    def batches(self, epoch: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """The epoch's augmented batches; order and augmentation depend on (seed, epoch, index) alone."""
        labels, rng = self.data.train.labels, self.random.stream("order", epoch).numpy()
        order = balanced_tickets(labels, rng) if self.recipe.balance == "sample" else tickets(len(labels), rng)
        for i in range(self.steps):
            drawn = order[i * self.batch_size : (i + 1) * self.batch_size]
            rows = drawn % len(labels)
            images = augmented(self.train_images[rows], self.augment, self.recipe.seed, epoch, drawn)
            yield images, labels[rows]

    def train_step(self, images: NDArray[np.float32], labels: NDArray[np.int64], rate: float) -> float:
        """Move the weights down the gradient of one batch's loss; returns the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        logits = self.model(minidl.from_numpy(images))
        target = minidl.from_numpy(labels)
        loss = classification_loss(logits, target, self.weights, self.recipe.label_smoothing)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.average.update(self.model)
        return float(loss.item())

    def validate(self) -> dict[str, float]:
        """Figures of the averaged weights on the validation split."""
        labels = self.data.val.labels
        p = predict_probabilities(self.averaged_model(), self.val_images, views=self.recipe.views)
        weights = class_weights(labels, p.shape[1]) if self.recipe.balance != "none" else np.ones(p.shape[1])
        loss = -np.log(np.maximum(p[np.arange(len(labels)), labels], 1e-12))
        found = p.argmax(1) == labels
        return {
            "val_loss": float(np.average(loss, weights=weights[labels])),
            "val_auc": macro_area(p, labels),
            "val_accuracy": float(found.mean()),
            "val_balanced_accuracy": float(np.mean([found[labels == k].mean() for k in range(p.shape[1])])),
        }

    def judge(self, row: dict[str, float]) -> bool:
        """Take in an epoch's figures; whether it is the best so far."""
        better = not self.rows or _score(row, self.recipe.select) > _score(
            self.rows[self.best_epoch - 1], self.recipe.select
        )
        self.rows.append(row)
        if better:
            self.best_epoch = len(self.rows)
        return better

    def averaged_model(self) -> nn.Module:
        """The network that is judged and kept, with the averaged weights."""
        self.judged.load_state_dict({name: minidl.from_numpy(a.copy()) for name, a in self.average.arrays.items()})
        return self.judged

    def classifier(self, row: dict[str, float]) -> Classifier:
        """What is kept of an epoch: the averaged network and its card."""
        data, shape = self.data, self.data.train.images.shape[1:]
        card = Card(
            architecture=self.architecture,
            preparation=tuple(self.preparation.to_list()),
            input_shape=(shape[0], shape[1], shape[2]),
            classes=data.classes,
            modalities=self.recipe.modalities,
            views=self.recipe.views,
            recipe=self.recipe.to_dict(),
            data={"name": data.name, "digest": data.digest, "synthetic": data.synthetic},
            validation={name: value for name, value in row.items() if name.startswith("val_") or name == "epoch"},
        )
        return Classifier(self.averaged_model(), card)

    def save(self, path: Path) -> None:
        """Write all that the next epochs depend on."""
        save_checkpoint(
            path,
            model=self.model,
            optimizer=self.optimizer,
            position={
                "recipe": self.recipe.to_dict(),
                "digest": self.data.digest,
                "rows": self.rows,
                "best_epoch": self.best_epoch,
                "average_step": self.average.step,
            },
            arrays=self.average.arrays,
        )

    def load(self, path: Path) -> None:
        """Go on from a checkpoint; one sentence, and nothing changed, if it belongs to something else."""
        if not path.is_file():
            raise InputError(f"{path}: there is no checkpoint to resume from")
        held = read_checkpoint(path)
        if held.position["recipe"] != self.recipe.to_dict():
            raise InputError(f"{path}: belongs to another recipe; start a new run")
        if held.position["digest"] != self.data.digest:
            raise InputError(f"{path}: belongs to other data than {self.data.name}; start a new run")
        held.restore(model=self.model, optimizer=self.optimizer)
        self.average.load(held.arrays, held.position["average_step"])
        self.rows, self.best_epoch = list(held.position["rows"]), held.position["best_epoch"]


def _optimizer(model: nn.Module, recipe: Recipe) -> optim.AdamW:
    """AdamW that decays the weights of convolutions and layers, not biases or the scales of norms."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return optim.AdamW(groups, lr=recipe.lr)


def _loss_weights(recipe: Recipe, data: ClassificationData) -> Tensor | None:
    if recipe.balance != "weights":
        return None
    return minidl.from_numpy(class_weights(data.train.labels, len(data.classes)))


def _score(row: dict[str, float], select: str) -> float:
    """Higher is better."""
    return -row[select] if select == "val_loss" else row[select]
