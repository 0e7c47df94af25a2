"""A run folder of a segmentation as training and evaluation leave it, made without either."""

from __future__ import annotations

import numpy as np

from medapps.evaluate import Cost
from medapps.evaluate_segmentation import cases_csv, evaluate_segmentation
from medapps.metrics import Resampling
from medapps.segmentation_examples import segmentation_examples
from tests.medapps.metrics.shapes import ball
from tests.medapps.report.fake_run import history, recipe, write_json, write_model

CLASSES = ("background", "liver", "vessel")


def make_segmentation_run(
    folder, *, classes=CLASSES, n=18, shape=(1, 48, 56), spacing=(None, 0.8, 0.8), groups=None, name="livers",
    synthetic=True, notes="plain", names=None, channels=1, empty=(),
):  # fmt: skip
    """Write a whole run; in the cases `empty` nothing is predicted."""
    folder.mkdir(parents=True, exist_ok=True)
    images, truths, predictions = zip(*(_case(i, shape, len(classes), channels) for i in range(n)), strict=True)
    for i in empty:
        predictions[i][:] = 0
    evaluation = evaluate_segmentation(
        truths, predictions, spacing and [spacing] * n, classes, split="test", groups=groups,
        names=names or [f"case-{i}" for i in range(n)], cost=Cost(83.4, 12.5, 412.0, 77_713, 320_000, 2),
        resampling=Resampling(300),
    )  # fmt: skip
    head = recipe(classes, name, notes, synthetic, n)
    head["recipe"]["task"] = "segment"
    head["data"] |= {
        "image_shape": [channels, *shape], "groups": {"train": 10 * n, "val": n, "test": n},
        "counts": {split: [9_000, *[500] * (len(classes) - 1)] for split in ("train", "val", "test")},
    }  # fmt: skip
    write_json(folder / "recipe.json", head)
    rows = [{"epoch": r["epoch"], "train_loss": r["train_loss"], "val_loss": r["val_loss"]} for r in history()]
    write_json(folder / "history.json", [{**r, "val_dice": 0.95 - r["val_loss"] / 2} for r in rows])
    (folder / "evaluation.json").write_text(evaluation.to_json(), "utf-8")
    (folder / "cases.csv").write_text(cases_csv(evaluation), "utf-8")
    (folder / "examples.npz").write_bytes(segmentation_examples(images, truths, predictions, evaluation))
    write_model(folder / "model.safetensors", {"validation": {"epoch": 9, "val_dice": 0.9}})
    return folder


def _case(i, shape, k, channels):
    """A ball in a ball in noise, and the same a little elsewhere and of another size: the later the case, the worse."""
    rng = np.random.default_rng(i)
    side = min(shape[1:])
    middle = [(s - 1) / 2 for s in shape]
    truth, predicted = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for c in range(1, k):
        radius = side * 0.34 / c
        truth[ball(shape, (1, 1, 1), radius, middle)] = c
        moved = np.add(middle, (0, *rng.normal(0, 0.25 * i, 2)))
        predicted[ball(shape, (1, 1, 1), radius + rng.normal(0, 0.15 * i), moved)] = c
    grey = 60 + 60 * (truth > 0) + 40 * (truth > 1) + rng.normal(0, 14, shape)
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[None], channels, 0), truth, predicted
