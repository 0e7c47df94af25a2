"""A run folder as training and evaluation leave it, made without either."""

from __future__ import annotations

import csv
import json

import numpy as np

from medapps.evaluate import Cost, evaluate_classifier
from medapps.metrics import Resampling
from tests.medapps.metrics.draws import predictions

CLASSES = ("normal", "tumour", "vessel", "heart")


def make_run(
    folder, *, classes=CLASSES[:2], n=60, images=None, probabilities=None, labels=None, groups=None, name="lungs",
    synthetic=False, notes="plain", names=None,
):  # fmt: skip
    """Write a whole run; `name`, `notes`, `names` and `classes` are the texts that a page shows."""
    folder.mkdir(parents=True, exist_ok=True)
    if probabilities is None:
        probabilities, labels = predictions(n, len(classes))
    n, names = len(labels), names or [f"case-{i}" for i in range(len(labels))]
    if images is None:
        images = np.random.default_rng(0).integers(0, 255, (n, 1, 12, 12)).astype(np.uint8)
    evaluation = evaluate_classifier(
        probabilities, labels, classes, split="test", groups=groups, cost=Cost(83.4, 1234.5, 412.0, 77_713, 320_000, 2),
        resampling=Resampling(300),
    )  # fmt: skip
    write_json(folder / "recipe.json", recipe(classes, name, notes, synthetic, n))
    write_json(folder / "history.json", history())
    (folder / "evaluation.json").write_text(evaluation.to_json(), "utf-8")
    write_predictions(folder / "predictions.csv", classes, probabilities, labels, names)
    chosen = np.arange(n)[:: max(1, n // 36)]
    np.savez_compressed(
        folder / "examples.npz", images=images[chosen], labels=labels[chosen], probabilities=probabilities[chosen],
        names=np.array([names[i] for i in chosen], dtype=np.str_),
    )  # fmt: skip
    write_model(folder / "model.safetensors")
    return folder


def recipe(classes, name, notes, synthetic, n):
    return {
        "medapps": "0.1.0",
        "recipe": {
            "name": notes, "model": "residual_cnn", "widths": [16, 32, 64], "epochs": 12, "lr": 0.003, "seed": 3,
            "augment": [{"name": "rotate", "degrees": 10.0}, {"name": notes, notes: notes}], "image_size": None,
        },
        "data": {
            "name": name, "digest": "ab" * 32, "synthetic": synthetic, "classes": list(classes),
            "image_shape": [1, 28, 28], "n": {"train": 10 * n, "val": n, "test": n},
        },
    }  # fmt: skip


def history(epochs=12):
    rng = np.random.default_rng(1)
    rows = []
    for e in range(epochs):
        fall = np.exp(-e / 4)
        figures = (0.3 + 0.4 * fall, 0.32 + 0.3 * fall + 0.02 * rng.random(), 0.97 - 0.2 * fall, 0.92 - 0.3 * fall)
        keys = ("train_loss", "val_loss", "val_auc", "val_accuracy")
        rows.append({"epoch": e + 1, **dict(zip(keys, figures, strict=True)), "lr": 0.003, "seconds": 6.9})
    return rows


def write_json(path, value):
    path.write_text(json.dumps(value), "utf-8")


def write_predictions(path, classes, probabilities, labels, names):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "group", "truth", "predicted", *(f"probability {c}" for c in classes), "notice"])
        for name, label, p in zip(names, labels, probabilities, strict=True):
            cells = [name, name, classes[label], classes[int(p.argmax())]]
            safe = [f"'{c}" if c[:1] in ("=", "+", "-", "@", "\t", "\r") else c for c in cells]
            writer.writerow([*safe, *(f"{v:.6f}" for v in p), "notice"])


def write_model(path, card=None):
    from safetensors.numpy import save_file

    card = {"validation": {"epoch": 9, "val_auc": 0.96}} if card is None else card
    save_file({"w": np.zeros(3, np.float32)}, path, metadata={"medapps_model": json.dumps(card)})
