"""Judge a run on its test split: `medapps evaluate`. The test split is opened here and nowhere else."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from medapps import NOTICE
from medapps.apps.cost import cost_of
from medapps.apps.judge_diagnosis import judge_diagnosis
from medapps.apps.judge_segmentation import judge_segmentation
from medapps.apps.run import Run
from medapps.apps.tables import csv_text
from medapps.errors import InputError
from medapps.evaluate import Evaluation, evaluate_classifier
from medapps.evaluate_diagnosis import DiagnosisEvaluation
from medapps.files import write_bytes, write_text
from medapps.inference import load_model, predict_probabilities
from medapps.readers import SegmentationData, Split
from medapps.segmentation_result import SegmentationEvaluation
from medapps.transforms import Compose

__all__ = ["evaluate_run"]

Judged: TypeAlias = Evaluation | SegmentationEvaluation | DiagnosisEvaluation
_SHOWN = 12  # examples of each kind that the report may show


def evaluate_run(run: str | Path, *, data_path: str | Path | None = None, device: str = "cpu") -> Judged:
    """Predict the test split with the run's model and measure how good that was, each figure with its interval.

    Writes evaluation.json, predictions.csv (of a segmentation: cases.csv) and examples.npz into the run folder. A model
    that decides about patients is judged by its decisions.

    data_path: where the data are now, if they were moved.
    device: "cpu", "cuda", or "auto", which is "cuda" where it can be used; not bound to the one of the training.

    Raises:
        DeviceError: if the device cannot be used.
        InputError: if the run is not there or its data changed. OutputError: if something could not be written.
    """
    opened = Run.open(run)
    classifier = load_model(opened.folder / "model.safetensors", device)
    data = opened.read_data(data_path)
    if tuple(data.classes) != tuple(classifier.card.classes):
        raise InputError(
            f"{opened.folder}: the model knows the classes {', '.join(classifier.card.classes)}, not the data's"
        )
    if isinstance(data, SegmentationData):
        return judge_segmentation(opened.folder, classifier, data)
    start = time.perf_counter()
    images = Compose.from_list(classifier.card.preparation).apply(data.test.images)
    probabilities = predict_probabilities(classifier.model, images, views=classifier.card.views)
    cost = cost_of(opened.folder, classifier, len(images) / (time.perf_counter() - start))
    if classifier.card.decision is not None:
        return judge_diagnosis(opened.folder, classifier, probabilities, data.test, cost, opened.recipe.metrics)
    about: dict[str, Any] = {"groups": data.test.groups, "cost": cost, "metrics": opened.recipe.metrics}
    result = evaluate_classifier(probabilities, data.test.labels, data.classes, split="test", **about)
    write_text(opened.folder / "predictions.csv", _predictions(probabilities, data.test, data.classes))
    write_bytes(opened.folder / "examples.npz", _examples(probabilities, data.test))
    write_text(opened.folder / "evaluation.json", result.to_json())
    return result


def _predictions(probabilities: NDArray[np.float64], split: Split, classes: tuple[str, ...]) -> str:
    head = ["name", "group", "truth", "predicted", *(f"probability {c}" for c in classes), "notice"]
    rows = [
        [name, group, classes[label], classes[int(p.argmax())], *(f"{v:.6f}" for v in p), NOTICE]
        for name, group, label, p in zip(split.names, split.groups, split.labels, probabilities, strict=True)
    ]
    return csv_text(head, rows)


def _examples(probabilities: NDArray[np.float64], split: Split) -> bytes:
    """The cases a reader wants to see: most certain mistakes, least certain, and a spread of right ones."""
    top, found = probabilities.max(1), probabilities.argmax(1) == split.labels
    wrong = np.flatnonzero(~found)
    right = np.flatnonzero(found)
    picked = [
        wrong[np.argsort(-top[wrong], kind="stable")][:_SHOWN],
        np.argsort(top, kind="stable")[:_SHOWN],
        right[np.linspace(0, len(right) - 1, min(_SHOWN, len(right))).astype(int)],
    ]
    index = np.unique(np.concatenate(picked))
    arrays: dict[str, Any] = {
        "images": _grey(split.images[index]),
        "labels": split.labels[index],
        "probabilities": probabilities[index],
        "names": np.array([split.names[i] for i in index], dtype=np.str_),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _grey(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Pictures for looking at, uint8; float images are stretched from their smallest to their largest value."""
    if images.dtype == np.uint8:
        return images
    low, high = float(images.min()), float(images.max())
    return np.rint((images - low) * (255 / (high - low) if high > low else 0.0)).astype(np.uint8)
