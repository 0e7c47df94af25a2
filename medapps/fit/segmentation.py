"""One label a pixel: patches of slices, cross-entropy with soft Dice, figures over whole cases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.fit.task import Batch, Task
from medapps.inference import Card, mirrored_rows, prepare_planes, segment_planes, with_context
from medapps.losses import segmentation_loss
from medapps.metrics import dice_scores
from medapps.models import describe_model
from medapps.order import repeated_tickets
from medapps.transforms import Compose, augmentations, augmented_pairs
from minidl import Tensor, nn

if TYPE_CHECKING:
    from medapps.readers import Case, SegmentationData
    from medapps.recipe import Recipe

__all__ = ["SegmentationTask"]

_STEP = 16  # sides of patches are multiples of this, so that they can be halved four times
Planes: TypeAlias = NDArray[np.float32]
Masks: TypeAlias = NDArray[np.uint8]


class SegmentationTask(Task):
    """Teach what each pixel belongs to, slice by slice; a volume is judged as a whole."""

    def __init__(self, recipe: Recipe, data: SegmentationData) -> None:
        if recipe.metrics:
            raise InputError("recipe: metrics are for classify and diagnose; a segmentation has figures of its own")
        self.recipe, self.data, self.name, self.digest = recipe, data, data.name, data.digest
        channels = data.train[0].image.shape[0]
        stacks = [np.swapaxes(case.image.array, 0, 1) for case in data.train]
        self.preparation = Compose.from_list(recipe.prepare).fit_pieces(stacks)
        self.augment = augmentations(recipe.augment)
        self.train = self._prepared(data.train)
        self.val = self._prepared(data.val)
        self.slices = [(i, z) for i, (planes, _) in enumerate(self.train) for z in range(len(planes))]
        self.size = self._patch_size()
        self.images = recipe.samples or len(self.slices)
        self.batch_size = min(recipe.batch_size, self.images)
        # A single picture has no neighbours.
        self.context = recipe.context if len(self.slices) > len(self.train) else 0
        own = {"widths": list(recipe.widths), "dropout": recipe.dropout}
        channels *= 2 * self.context + 1
        self.architecture = describe_model(recipe.model, channels, len(data.classes), own, recipe.options)

    def _prepared(self, cases: tuple[Case, ...]) -> list[tuple[Planes, Masks]]:
        return [(prepare_planes(self.preparation, case.image), case.mask) for case in cases]

    def _patch_size(self) -> tuple[int, int]:
        """Height and width of the patches: as much as the largest slice needs, and no more than the recipe says."""
        sides = np.max([case.mask.shape[1:] for case in self.data.train], axis=0)
        needed = [-(-int(side) // _STEP) * _STEP for side in sides]
        height, width = (min(side, self.recipe.patch_size or side) for side in needed)
        return height, width

    def batches(self, epoch: int, order: np.random.Generator) -> Iterator[Batch]:
        shown = repeated_tickets(len(self.slices), self.images, order)
        for i in range(self.steps):
            drawn = shown[i * self.batch_size : (i + 1) * self.batch_size]
            pairs = [self._patch(epoch, int(ticket)) for ticket in drawn]
            images, masks = augmented_pairs(
                np.stack([image for image, _ in pairs]),
                np.stack([mask for _, mask in pairs]),
                self.augment,
                self.recipe.seed,
                epoch,
                drawn,
            )
            yield images, masks.astype(np.int64)

    def _patch(self, epoch: int, ticket: int) -> tuple[Planes, Masks]:
        """The piece of a slice that `ticket` stands for in this epoch, (C, H, W) and (H, W)."""
        rng = np.random.default_rng([self.recipe.seed, epoch, ticket])
        number, z = self.slices[ticket % len(self.slices)]
        planes, masks = self.train[number]
        plane, mask = with_context(planes, self.context, z), masks[z]
        middle = None
        if rng.random() < self.recipe.foreground and mask.any():
            labelled = np.flatnonzero(mask)
            middle = np.unravel_index(labelled[rng.integers(len(labelled))], mask.shape)
        rows, columns = (
            _place(length, side, None if middle is None else int(middle[axis]), rng)
            for axis, (length, side) in enumerate(zip(mask.shape, self.size, strict=True))
        )
        return plane[:, rows[:, None], columns], mask[rows[:, None], columns]

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return segmentation_loss(outputs, target, self.recipe.dice)

    def validate(self, model: nn.Module) -> dict[str, float]:
        losses, scores = [], []
        for planes, mask in self.val:
            p = segment_planes(model, with_context(planes, self.context), self.size, self.recipe.window)
            true = np.take_along_axis(p, mask[:, None].astype(np.int64), 1)
            losses.append(float(-np.log(np.maximum(true, 1e-7)).mean(dtype=np.float64)))
            scores.append(dice_scores(mask, p.argmax(1), len(self.data.classes)))
        with np.errstate(invalid="ignore"):
            by_class = np.nanmean(np.array(scores), axis=0)
        return {"val_loss": float(np.mean(losses)), "val_dice": float(np.nanmean(by_class))}

    def card(self, validation: dict[str, float]) -> Card:
        data = self.data
        return Card(
            task="segment",
            architecture=self.architecture,
            preparation=tuple(self.preparation.to_list()),
            input_shape=(data.train[0].image.shape[0], *self.size),
            classes=data.classes,
            modalities=self.recipe.modalities,
            context=self.context,
            window=self.recipe.window,
            recipe=self.recipe.to_dict(),
            data={"name": data.name, "digest": data.digest, "synthetic": data.synthetic},
            validation=validation,
        )


def _place(length: int, side: int, middle: int | None, rng: np.random.Generator) -> NDArray[np.int64]:
    """Which of `length` rows a patch of `side` rows shows, around `middle` or anywhere; a short side is mirrored."""
    if length < side:
        start = (length - side) // 2
    elif middle is None:
        start = int(rng.integers(length - side + 1))
    else:
        start = min(max(middle - int(rng.integers(side)), 0), length - side)
    return mirrored_rows(length, start, side)
