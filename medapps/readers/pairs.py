"""Segmentation data as files: images and label maps of the same names, or what a phantom folder lists."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.image import Image
from medapps.readers.dicom import patient_key
from medapps.readers.limits import DEFAULT_LIMITS, Limits
from medapps.readers.patches import label_map
from medapps.readers.read import file_bytes, read_image
from medapps.readers.seg import list_segments, read_seg
from medapps.readers.segmentation import Case, SegmentationData
from medapps.readers.splitting import hold_out

__all__ = ["read_pairs"]

_IMAGES, _LABELS = ("images", "imagestr", "image"), ("labels", "masks", "labelstr", "label", "mask")
_SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}
_ORDER = ("train", "val", "test")
_SUFFIX = re.compile(r"(\.nii\.gz|\.nii|\.png|\.jpe?g|\.dcm)$", re.IGNORECASE)
_MARK = re.compile(r"([_-](masks?|labels?|seg|gt|0000))$", re.IGNORECASE)


@dataclass(frozen=True)
class Pair:
    """Where an image and its label map are; group and split are "" where the data set does not say them."""

    image: Path
    label: Path
    group: str
    split: str = ""


def read_pairs(
    path: Path, *, seed: int = 0, classes: Sequence[str] = (), limits: Limits = DEFAULT_LIMITS
) -> SegmentationData:
    """Read `images/` and `labels/` (or `masks/`), files of one name belonging together: PNG, DICOM or NIfTI.

    An image may also be the folder of a DICOM series. A label map in DICOM is a SEG, laid on its image by place; its
    segments go by their names.

    Splits are train, val and test folders above those, or a splits.json with lists of names, or are held out from all
    by patient (here: by file). A dataset.json may name the label values, {"labels": {"0": "background", ...}}, as in
    the Medical Segmentation Decathlon. Values without names are numbered in their order, so that 0 and 255 are
    classes 0 and 1.

    classes: names to keep, the others become background; all when empty.

    Raises:
        InputError: one sentence that names the file and what is wrong.
    """
    description = _json(path / "dataset.json")
    pairs = list(_listed(path, description) if "images" in description else _found(path))
    names = {int(value): str(name) for value, name in _table(description.get("labels")).items()}
    digest, loaded, segments = hashlib.sha256(), [], dict[str, int]()
    for pair in pairs:
        loaded.append(_load(pair, segments, digest, limits))
        if sum(case.image.array.nbytes + case.mask.nbytes for case in loaded) > limits.dataset_bytes:
            raise InputError(f"{path}: more than {limits.dataset_bytes >> 20} MiB of images; split the data set")
    if segments:
        names = {0: "background", **{value: name for name, value in segments.items()}}
    values = sorted(set().union(*(np.unique(case.mask).tolist() for case in loaded)) | {0})
    if names and (strange := [v for v in values if v not in names]):
        raise InputError(f"{path}: a label map holds {strange[0]}, which dataset.json does not name")
    titles = {v: names.get(v, f"class {i}") for i, v in enumerate(sorted(names) or values)}
    kept = [v for v, name in titles.items() if v != 0 and (not classes or name in classes)]
    if missing := [name for name in classes if name not in titles.values()]:
        raise InputError(f"{path}: has no class {missing[0]!r}; it has {', '.join(titles.values())}")
    table = np.zeros(256, np.uint8)
    table[kept] = np.arange(1, len(kept) + 1)
    cases = [Case(case.name, case.group, case.image, table[case.mask]) for case in loaded]
    splits = _split(path, pairs, cases, seed)
    return SegmentationData(
        name=path.name,
        classes=("background", *(titles[v] for v in kept)),
        **splits,
        synthetic=bool(description.get("synthetic", False)),
        digest=digest.hexdigest(),
    )


def _load(pair: Pair, segments: dict[str, int], digest: Any, limits: Limits) -> Case:
    """Read a pair. `segments` gathers the names of SEG segments, with the label value that each gets."""
    parts = sorted(f for f in pair.image.rglob("*") if f.is_file()) if pair.image.is_dir() else [pair.image]
    for file in (*parts, pair.label):
        digest.update(hashlib.sha256(file_bytes(file, limits)).digest())
    image = read_image(pair.image, limits=limits)
    group = pair.group or f"{pair.split}/{_stem(pair.image)}"
    if not pair.group and image.meta.get("format") == "DICOM":
        group = patient_key(file_bytes(parts[0], limits), str(parts[0]), limits=limits) or group
    return Case(_stem(pair.image), group, image, _mask(pair.label, image, segments, limits))


def _mask(path: Path, image: Image, segments: dict[str, int], limits: Limits) -> NDArray[np.uint8]:
    """The label values of a file, (z, y, x), uint8."""
    shape = image.shape[1:]
    if path.suffix.lower() == ".png":
        return label_map(file_bytes(path, limits), str(path), shape[1:])[None]  # a palette's numbers, not its colours
    if list_segments(path, limits=limits) is not None:
        mask, names = read_seg(path, image, limits=limits)
        return np.array([0, *(segments.setdefault(n, len(segments) + 1) for n in names[1:])], np.uint8)[mask]
    labels = read_image(path, limits=limits).array
    if labels.shape[1:] != shape or labels.shape[0] != 1:
        raise InputError(f"{path}: is a label map of {labels.shape[1:]} voxels, its image has {shape} (z, y, x)")
    if labels.min() < 0 or labels.max() > 255 or (labels != np.rint(labels)).any():
        raise InputError(f"{path}: label values must be whole numbers from 0 to 255")
    return np.asarray(labels[0], np.uint8)


def _listed(path: Path, description: dict[str, Any]) -> Iterator[Pair]:
    """What the dataset.json of a phantom folder lists."""
    for item in description["images"]:
        try:
            image, label = (path / str(item[key]) for key in ("image", "label"))
            group, split = str(item["patient"]), _SPLITS[str(item["split"])]
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: an entry of dataset.json has no {error}") from None
        for file in (image, label):
            if not file.resolve().is_relative_to(path.resolve()):
                raise InputError(f"{path}: dataset.json names a file outside of the folder; do not trust it")
        yield Pair(image, label, group, split)


def _found(path: Path) -> Iterator[Pair]:
    """Pairs by name, below the splits' folders or without them."""
    folders = {f.name.lower(): f for f in sorted(path.iterdir()) if f.is_dir()}
    above = [(split, folders[name]) for name, split in _SPLITS.items() if name in folders] or [("", path)]
    by_name = {name: _SPLITS[split] for split, names in _json(path / "splits.json").items() for name in names}
    for split, folder in above:
        images, labels = _side(folder, _IMAGES), _side(folder, _LABELS)
        if lonely := sorted(images.keys() ^ labels.keys()):
            kind = "label map" if lonely[0] in images else "image"
            raise InputError(f"{folder}: {lonely[0]} has no {kind} of its name; add it, or take its partner out")
        for name, image in images.items():
            if by_name and name not in by_name:
                continue  # splits.json chooses
            yield Pair(image, labels[name], "", split or by_name.get(name, ""))


def _side(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """The files of `images/` (or what else it is called), by what their names have in common with their partners."""
    for item in sorted(folder.iterdir()) if folder.is_dir() else ():
        if item.is_dir() and item.name.lower() in names:
            files = [f for f in sorted(item.iterdir()) if f.is_dir() or _SUFFIX.search(f.name)]
            return {_MARK.sub("", _stem(f)): f for f in files if not f.name.startswith(".")}
    raise InputError(f"{folder}: has no folder {names[0]!r}; give images/ and labels/ with files of the same names")


def _stem(path: Path) -> str:
    return _SUFFIX.sub("", path.name)


def _split(path: Path, pairs: Sequence[Pair], cases: Sequence[Case], seed: int) -> dict[str, tuple[Case, ...]]:
    where = np.array([pair.split or "train" for pair in pairs])
    for missing, fraction in (("test", 0.2), ("val", 0.15)):
        if missing not in where:
            train = np.flatnonzero(where == "train")
            labels = np.zeros(len(train), np.int64)
            out = hold_out([cases[int(i)].group for i in train], labels, fraction, seed=seed, name=str(path))
            where[train[out]] = missing
    return {split: tuple(c for c, w in zip(cases, where, strict=True) if w == split) for split in _ORDER}


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes()) if file.is_file() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read ({type(error).__name__})") from None
    return _table(found)


def _table(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}
