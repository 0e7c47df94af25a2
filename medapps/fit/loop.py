"""fit: train a network as a recipe says, so that it can be stopped at any moment and go on bit for bit.

What an epoch does depends on the recipe, the data and the checkpoint alone: order and augmentation are drawn from
(seed, epoch), the learning rate is a function of the step. The checkpoint holds the rest, and is written before the
first epoch and after each.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

import minidl
from medapps.device import choose_device, on
from medapps.errors import DivergedError, InputError
from medapps.files import make_folder, write_json
from medapps.fit.classification import ClassificationTask
from medapps.fit.segmentation import SegmentationTask
from medapps.fit.task import Batch, Task
from medapps.inference import Classifier, save_model
from medapps.models import WeightAverage, build_model
from medapps.readers import SegmentationData
from medapps.recipe import Recipe
from medapps.schedule import learning_rate
from minidl import nn, optim
from minidl.device import Device
from minidl.io import read_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from medapps.readers import ClassificationData

__all__ = ["History", "Progress", "Trainer", "fit"]

CHECKPOINT, HISTORY, MODEL = "checkpoint.safetensors", "history.json", "model.safetensors"


@dataclass(frozen=True)
class History:
    """What each epoch gave, and which was best (0: none yet).

    rows: epoch, train_loss, the validation figures of the task (val_loss, ...), lr, seconds.
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
    data: ClassificationData | SegmentationData,
    run_folder: str | Path,
    *,
    resume: bool = False,
    epochs: int | None = None,
    device: str | Device = "cpu",
    progress: Progress | None = None,
) -> History:
    """Train on `data.train`, judge each epoch on `data.val`, keep the best; `data.test` is not touched.

    Writes into `run_folder`: model.safetensors (the best epoch so far), checkpoint.safetensors, history.json.

    resume: go on from the checkpoint there; on the CPU the result is the same, bit for bit, as without the stop.
    epochs: stop after this many for now, to be resumed later; the recipe's when None.
    device: "cpu", "cuda", or "auto", which is "cuda" where it can be used. A checkpoint does not know devices: a run
        can be resumed on another one, but its last digits then differ from those of a run that stayed.
    progress: told of each step and each epoch.

    Raises:
        DeviceError: if the device cannot be used.
        InputError: if the data cannot be trained on, or the checkpoint belongs to another recipe or other data.
        OutputError: if something could not be written.
    """
    trainer = Trainer(recipe, data, device)
    folder = make_folder(run_folder)
    if resume:
        trainer.load(folder / CHECKPOINT)
    else:
        trainer.save(folder / CHECKPOINT)
    if progress:
        progress.start(recipe.epochs, len(trainer.rows), trainer.task.steps)
    while not trainer.is_finished and (epochs is None or len(trainer.rows) < epochs):
        row = trainer.train_epoch(progress)
        best = trainer.judge(row)
        if best:  # before the checkpoint: if the power fails in between, the same epoch is made and kept again
            save_model(folder / MODEL, trainer.classifier(row))
        trainer.save(folder / CHECKPOINT)
        write_json(folder / HISTORY, trainer.rows)
        if progress:
            progress.epoch(row, best)
    return History(tuple(trainer.rows), trainer.best_epoch)


def task_for(recipe: Recipe, data: ClassificationData | SegmentationData) -> Task:
    """The kind of training that the data ask for."""
    return SegmentationTask(recipe, data) if isinstance(data, SegmentationData) else ClassificationTask(recipe, data)


class Trainer:
    """The state of one training run, and the steps that change it; networks, averages and optimiser are on `device`."""

    def __init__(
        self, recipe: Recipe, data: ClassificationData | SegmentationData, device: str | Device = "cpu"
    ) -> None:
        self.device = choose_device(device)
        self.recipe, self.task = recipe, task_for(recipe, data)
        self.random = minidl.Generator(recipe.seed)
        self.judged = build_model(self.task.architecture).to(self.device)
        minidl.manual_seed(recipe.seed)
        self.model = build_model(self.task.architecture).to(self.device)
        self.average = WeightAverage(self.model, recipe.average)
        self.optimizer = _optimizer(self.model, recipe)
        self.rows: list[dict[str, float]] = []
        self.best_epoch = 0

    @property
    def is_finished(self) -> bool:
        done = len(self.rows)
        return done >= self.recipe.epochs or done - self.best_epoch >= self.recipe.patience

    def train_epoch(self, progress: Progress | None = None) -> dict[str, float]:
        """One pass over the training split, then the figures on the validation split."""
        epoch, steps, start, total = len(self.rows), self.task.steps, time.perf_counter(), 0.0
        self.model.train()
        for i, batch in enumerate(self.task.batches(epoch, self.random.stream("order", epoch).numpy())):
            rate = learning_rate(self.recipe, epoch * steps + i, self.recipe.epochs * steps)
            total += self.train_step(batch, rate)
            if progress:
                progress.step(total / (i + 1))
        if not np.isfinite(total):
            raise DivergedError(f"training: the loss became {total} in epoch {epoch + 1}; lower lr ({self.recipe.lr})")
        figures = self.task.validate(self.averaged_model())
        return {
            "epoch": epoch + 1,
            "train_loss": total / steps,
            **figures,
            "lr": rate,
            "seconds": time.perf_counter() - start,
        }

    def train_step(self, batch: Batch, rate: float) -> float:
        """Move the weights down the gradient of one batch's loss; returns the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        images, target = (on(self.device, part) for part in batch)
        loss = self.task.loss(self.model(images), target)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.average.update(self.model)
        return float(loss.item())

    def judge(self, row: dict[str, float]) -> bool:
        """Take in an epoch's figures; whether it is the best so far."""
        select = self.recipe.select
        if select not in row:
            raise InputError(f"recipe: select must be one of {', '.join(_figures(row))} for these data, got {select!r}")
        better = not self.rows or _score(row, select) > _score(self.rows[self.best_epoch - 1], select)
        self.rows.append(row)
        if better:
            self.best_epoch = len(self.rows)
        return better

    def averaged_model(self) -> nn.Module:
        """The network that is judged and kept, with the averaged weights."""
        self.judged.load_state_dict(self.average.tensors)
        return self.judged

    def classifier(self, row: dict[str, float]) -> Classifier:
        """What is kept of an epoch: the averaged network and its card."""
        return Classifier(self.averaged_model(), self.task.card({"epoch": row["epoch"], **_figures(row)}))

    def save(self, path: Path) -> None:
        """Write all that the next epochs depend on."""
        save_checkpoint(
            path,
            model=self.model,
            optimizer=self.optimizer,
            position={
                "recipe": self.recipe.to_dict(),
                "digest": self.task.digest,
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
        was = Recipe.from_dict(held.position["recipe"])  # of an older run: with the defaults of newer fields
        if was.to_dict() != self.recipe.to_dict():
            raise InputError(f"{path}: belongs to another recipe; start a new run")
        if held.position["digest"] != self.task.digest:
            raise InputError(f"{path}: belongs to other data than {self.task.name}; start a new run")
        held.restore(model=self.model, optimizer=self.optimizer)
        self.average.load(held.arrays, held.position["average_step"])
        self.rows, self.best_epoch = list(held.position["rows"]), held.position["best_epoch"]


def _optimizer(model: nn.Module, recipe: Recipe) -> optim.AdamW:
    """AdamW that decays the weights of convolutions and layers, not biases or the scales of norms."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return optim.AdamW(groups, lr=recipe.lr)


def _figures(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name.startswith("val_")}


def _score(row: dict[str, float], select: str) -> float:
    """Higher is better."""
    return -row[select] if select == "val_loss" else row[select]
