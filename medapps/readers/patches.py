"""Tissue patches from a phantom folder: small pictures centred on tumour, heart, vessel, or something else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.readers.data import ClassificationData, Split
from medapps.readers.limits import DEFAULT_LIMITS, Limits
from medapps.readers.pixels import to_pixels
from medapps.readers.read import decode_image, file_bytes

__all__ = ["is_phantom_folder", "label_map", "read_patches"]

CLASSES = ("tumour", "heart", "vessel", "other")
_OTHER = ("body", "lung", "bone")
_PER_SLICE = 8  # patches of each class in one slice, at most
_SIDE = 32


def is_phantom_folder(path: Path) -> bool:
    """True for a folder that `medapps.phantom.make_dataset` wrote."""
    try:
        return (path / "dataset.json").is_file() and _description(path).get("kind") == "phantom"
    except InputError:
        return False


def read_patches(
    path: Path, *, seed: int = 0, image_size: tuple[int, int] | None = None, limits: Limits = DEFAULT_LIMITS
) -> ClassificationData:
    """Cut patches around labelled pixels of every slice, in the folder's own split by patient.

    A patch belongs to the tissue at its centre. Pixels are as shown by the file's window, (N, 1, H, W), uint8. "other"
    is drawn in equal parts from soft tissue, lung and bone. Places depend on (seed, slice) only.

    Raises:
        InputError: if the folder does not hold what its dataset.json says.
    """
    description = _description(path)
    labels = {str(name): int(value) for value, name in description.get("labels", {}).items()}
    missing = [name for name in (*CLASSES[:3], *_OTHER) if name not in labels]
    if missing:
        raise InputError(f"{path}: dataset.json names no label {missing[0]!r}; make the phantom folder again")
    size = image_size or (_SIDE, _SIDE)
    rows: dict[str, list[tuple[NDArray[np.uint8], int, str, str]]] = {"train": [], "val": [], "test": []}
    digest = hashlib.sha256()
    for number, item in enumerate(description.get("images", [])):
        image_data = file_bytes(path / str(item["image"]), limits)
        label_data = file_bytes(path / str(item["label"]), limits)
        digest.update(hashlib.sha256(image_data).digest() + hashlib.sha256(label_data).digest())
        picture = to_pixels(decode_image(image_data, str(item["image"]), limits=limits), str(item["image"]))[0]
        truth = label_map(label_data, str(item["label"]), picture.shape)
        rng = np.random.default_rng([seed, number])
        for label, (y, x) in _places(truth, labels, rng):
            name = f"{item['image']} ({y}, {x})"
            rows[item["split"]].append((_cut(picture, y, x, size), label, str(item["patient"]), name))
    train, val, test = (_split(path, title, rows[title]) for title in ("train", "val", "test"))
    synthetic = bool(description.get("synthetic", True))
    return ClassificationData("phantom tissues", CLASSES, train, val, test, synthetic, digest.hexdigest())


def _description(path: Path) -> dict[str, Any]:
    try:
        found = json.loads((path / "dataset.json").read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: dataset.json cannot be read ({type(error).__name__})") from None
    return found if isinstance(found, dict) else {}


def label_map(data: bytes, name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Label values (H, W) of a palette PNG, whose colours are only for looking at.

    Raises:
        InputError: if it is damaged or does not have the size of its image.
    """
    import io

    import PIL.Image

    try:
        with PIL.Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            if picture.mode not in ("P", "L") or (picture.height, picture.width) != shape:
                raise InputError(f"{name}: is not a label map of {shape[0]} x {shape[1]} pixels")
            return np.asarray(picture, np.uint8)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name}: a damaged label map ({type(error).__name__}); make the folder again") from None


def _places(
    truth: NDArray[np.uint8], labels: dict[str, int], rng: np.random.Generator
) -> list[tuple[int, tuple[int, int]]]:
    """(class, (y, x)) of the patches of one slice."""
    places = []
    for index, name in enumerate(CLASSES):
        for tissue in _OTHER if name == "other" else (name,):
            count = -(-_PER_SLICE // len(_OTHER)) if name == "other" else _PER_SLICE
            ys, xs = np.nonzero(_surrounded(truth == labels[tissue]))
            chosen = rng.permutation(len(ys))[:count]
            places += [(index, (int(ys[i]), int(xs[i]))) for i in chosen]
    return places


def _surrounded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of `mask` with at least half of their 3 x 3 neighbourhood in it: no stray edge pixels as centres."""
    padded = np.pad(mask, 1).astype(np.uint8)
    h, w = mask.shape
    around = sum(padded[a : a + h, b : b + w].astype(np.int64) for a in range(3) for b in range(3))
    return np.asarray(mask & (around >= 5))


def _cut(picture: NDArray[np.uint8], y: int, x: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The window of `size` around (y, x), (1, H, W); black beyond the picture."""
    h, w = size
    padded = np.pad(picture, ((h // 2, h), (w // 2, w)))
    return padded[None, y : y + h, x : x + w]


def _split(path: Path, title: str, rows: list[tuple[NDArray[np.uint8], int, str, str]]) -> Split:
    if not rows:
        raise InputError(f"{path}: the {title} split is empty; make the phantom folder with more patients")
    images, labels, groups, names = zip(*rows, strict=True)
    return Split(np.stack(images), np.array(labels, np.int64), tuple(groups), tuple(names))
