"""Classify files: `medapps predict`. One result or one sentence for each file; a bad file does not stop the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps import NOTICE
from medapps.apps.tables import csv_text
from medapps.errors import InputError
from medapps.files import write_text
from medapps.inference import Card, Classifier, load_model, predict_probabilities
from medapps.readers import read_image, resize, to_pixels
from medapps.transforms import Compose

__all__ = ["Prediction", "check_target", "find_files", "pictures", "predict_files"]

_TOO_SMALL = 4  # a picture this many times smaller than the model's, in each direction, holds no detail to judge


@dataclass(frozen=True)
class Prediction:
    """What came of one image: a class with all probabilities, or the sentence that says why not.

    name: the file, with the image's place in it where it holds several.
    """

    name: str
    label: str | None = None
    probabilities: dict[str, float] | None = None
    error: str | None = None

    @property
    def probability(self) -> float | None:
        """How probable the model thinks `label` is."""
        return None if self.probabilities is None or self.label is None else self.probabilities[self.label]


def predict_files(
    paths: str | Path | Sequence[str | Path],
    model: str | Path,
    *,
    output: str | Path | None = None,
    overwrite: bool = False,
    device: str = "cpu",
    show: Callable[[Prediction], None] | None = None,
) -> tuple[Prediction, ...]:
    """Classify DICOM, PNG, JPEG and .npz files, and all files in the folders among `paths`.

    model: a model.safetensors, or the run folder that holds it.
    output: a .csv or .json file to write the results to. overwrite: replace it if it is there.
    device: "cpu", "cuda", or "auto", which is "cuda" where it can be used.
    show: called with each prediction as soon as it is made.

    Raises:
        DeviceError: if the device cannot be used.
        InputError: if the model cannot be used, or there is nothing to predict. A file that cannot be used is no
            error here; its prediction says why.
    """
    target = check_target(output, overwrite)
    classifier = load_model(model, device)
    made = []
    for path in find_files([paths] if isinstance(paths, str | Path) else paths):
        for prediction in _predict_file(path, classifier):
            made.append(prediction)
            if show:
                show(prediction)
    if target:
        write_text(target, _csv(made, classifier.card) if target.suffix == ".csv" else _json(made, classifier.card))
    return tuple(made)


def check_target(output: str | Path | None, overwrite: bool) -> Path | None:
    """Where results go; refused before any work if they could not be written there."""
    if output is None:
        return None
    target = Path(output)
    if target.suffix not in (".csv", ".json"):
        raise InputError(f"{target}: results are written as .csv or .json; give a name that ends so")
    if not target.parent.is_dir():
        raise InputError(f"{target}: there is no folder {target.parent}")
    if target.exists() and not overwrite:
        raise InputError(f"{target}: is there already; add --overwrite to replace it")
    return target


def find_files(paths: Sequence[str | Path]) -> list[Path]:
    """The files named, and those in the folders named, in order; hidden files are left out."""
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
            if not inside:
                raise InputError(f"{path}: holds no files to predict")
            found += inside
        else:
            found.append(path)
    if not found:
        raise InputError("predict: name at least one file or folder")
    return found


def _predict_file(path: Path, classifier: Classifier) -> Iterator[Prediction]:
    try:
        found = list(pictures(path, classifier.card))
    except InputError as error:
        yield Prediction(str(path), error=str(error))
        return
    images = Compose.from_list(classifier.card.preparation).apply(np.stack([pixels for _, pixels in found]))
    probabilities = predict_probabilities(classifier.model, images, views=classifier.card.views)
    for (name, _), row in zip(found, probabilities, strict=True):
        shares = {c: float(p) for c, p in zip(classifier.card.classes, row, strict=True)}
        yield Prediction(name, classifier.card.classes[int(row.argmax())], shares)


def pictures(path: Path, card: Card) -> Iterator[tuple[str, NDArray[Any]]]:
    """(name, pixels (C, H, W)) of each picture in a file, as the model wants them."""
    channels, *size = card.input_shape
    if path.suffix.lower() == ".npz":
        yield from _arrays(path, card)
        return
    image = read_image(path)
    if card.modalities and image.modality and image.modality not in card.modalities:
        wanted = " or ".join(card.modalities)
        raise InputError(f"{path}: is of modality {image.modality}, but the model was made for {wanted}")
    _check_size(str(path), image.shape[2:], card)
    frames = image.shape[1]
    for z in range(frames):
        name = str(path) if frames == 1 else f"{path}[frame {z + 1}]"
        frame = image.with_array(image.array[:, z : z + 1])
        yield name, to_pixels(frame, name, image_size=(size[0], size[1]), channels=channels)


def _arrays(path: Path, card: Card) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every picture of an .npz file: its arrays named `...images`, (N, H, W) or (N, H, W, 3), uint8."""
    from medapps.readers.npz import load_arrays

    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    found = {name: a for name, a in load_arrays(path).items() if name.endswith("images")}
    if not found:
        raise InputError(f"{path}: holds no array whose name ends in 'images'")
    channels, *size = card.input_shape
    for name, array in found.items():
        planes = array[:, None] if array.ndim == 3 else np.moveaxis(array, -1, 1) if array.ndim == 4 else array
        if array.dtype != np.uint8 or planes.ndim != 4 or planes.shape[1] != channels:
            need = "(N, H, W)" if channels == 1 else "(N, H, W, 3)"
            raise InputError(f"{path}: {name} must be {need}, uint8, got {array.shape}, {array.dtype}")
        _check_size(f"{path}: {name}", planes.shape[2:], card)
        for i, plane in enumerate(planes):
            yield f"{path}[{name}, {i}]", resize(plane, (size[0], size[1]))


def _check_size(name: str, size: tuple[int, ...], card: Card) -> None:
    _, *wanted = card.input_shape
    if any(have * _TOO_SMALL < need for have, need in zip(size, wanted, strict=True)):
        h, w = wanted
        raise InputError(f"{name}: {size[0]} x {size[1]} pixels are too few for a model of {h} x {w} pixels")


def _csv(made: Sequence[Prediction], card: Card) -> str:
    head = ["file", "class", *(f"probability {c}" for c in card.classes), "error", "notice"]
    rows = [
        [
            p.name,
            p.label or "",
            *(f"{p.probabilities[c]:.6f}" if p.probabilities else "" for c in card.classes),
            p.error or "",
            NOTICE,
        ]
        for p in made
    ]
    return csv_text(head, rows)


def _json(made: Sequence[Prediction], card: Card) -> str:
    results = [
        {"file": p.name, "error": p.error}
        if p.error
        else {"file": p.name, "class": p.label, "probabilities": p.probabilities}
        for p in made
    ]
    content = {"notice": NOTICE, "classes": list(card.classes), "trained_on": dict(card.data), "results": results}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
