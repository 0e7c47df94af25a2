"""Data sets as folders: one folder per class, in a directory or a zip, with or without train/val/test above them.

A zip is never unpacked to disk; its entries are read one by one, in memory, under the limits.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.readers.archive import Member, zip_members
from medapps.readers.data import ClassificationData, Split
from medapps.readers.dicom import patient_key
from medapps.readers.limits import DEFAULT_LIMITS, Limits
from medapps.readers.pixels import to_pixels
from medapps.readers.read import decode_image, file_bytes
from medapps.readers.splitting import hold_out, merge_groups

__all__ = ["person_in_name", "read_folder"]

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_IMAGES = {".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".ima", ""}
_UNREAD = {".bmp", ".tif", ".tiff", ".gif", ".webp", ".nii", ".gz", ".mha", ".nrrd", ".npy"}
# File names that say whose image it is: Kermany's chest X-rays. The numbers start anew in each split.
_PERSON = re.compile(r"(person\d+)_|((?:NORMAL2-)?IM-\d+)-")


@dataclass(frozen=True)
class Entry:
    """One image file: its place below the root, split and class, and how to get its bytes."""

    parts: tuple[str, ...]
    load: Callable[[], bytes]
    split: str = ""
    label: str = ""
    patient: str = ""  # first folder below the class, if any

    @property
    def name(self) -> str:
        return "/".join(self.parts)


def read_folder(
    path: Path, *, seed: int = 0, image_size: tuple[int, int] | None = None, limits: Limits = DEFAULT_LIMITS
) -> ClassificationData:
    """Read class folders; classes are in alphabetical order, and so class 1 of two is the later name.

    A folder may also hold `train.zip`, `val.zip`, `test.zip`. Splits that are missing are held out from train by
    patient: `personNNN_` in the name, DICOM's PatientID, or the first folder below the class, whatever lies deeper
    (study, series); else each file stands alone. Identical files stay together.

    Raises:
        InputError: one sentence naming what is wrong and where.
    """
    with ExitStack() as archives:
        entries, folders = _entries(path, limits, archives)
        entries = _labelled(path, entries, folders)
        classes = tuple(sorted({entry.label for entry in entries}))
        split, digests = _decode(path, entries, classes, image_size, limits)
    splits = _three_splits(path, entries, split, digests, seed)
    whole = hashlib.sha256("\n".join(f"{e.name}\0{d}" for e, d in zip(entries, digests, strict=True)).encode())
    return ClassificationData(path.stem, classes, *splits, _is_synthetic(path), whole.hexdigest())


def _is_synthetic(path: Path) -> bool:
    """Whether a dataset.json beside the class folders says that a program made the images."""
    try:
        found = json.loads((path / "dataset.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("synthetic") is True


def _entries(path: Path, limits: Limits, archives: ExitStack) -> tuple[list[Entry], set[tuple[str, ...]]]:
    """All image files below `path`, sorted by name, and the folders that hold them or could."""
    pairs = zip_members(path, (), limits, archives) if path.is_file() else _folder_members(path, limits, archives)
    entries, folders = [], set()
    for parts, load in pairs:
        if any(part.startswith((".", "__MACOSX")) for part in parts):
            continue
        if load is None:
            folders.add(parts)
            continue
        suffix = PurePosixPath(parts[-1]).suffix.lower()
        if suffix in _UNREAD:
            raise InputError(f"{path}: {'/'.join(parts)} is a {suffix} file, which class folders may not hold; use PNG")
        if suffix in _IMAGES and parts[-1].upper() != "DICOMDIR":
            entries.append(Entry(parts, load))
    if len(entries) > limits.dataset_images:
        raise InputError(f"{path}: {len(entries)} images, more than the {limits.dataset_images} allowed")
    return sorted(entries, key=lambda entry: entry.parts), folders


def _folder_members(root: Path, limits: Limits, archives: ExitStack) -> Iterator[Member]:
    for item in sorted(root.rglob("*")):
        parts = item.relative_to(root).parts
        if item.is_dir():
            yield parts, None
        elif len(parts) == 1 and item.suffix.lower() == ".zip" and item.stem.lower() in _SPLIT_NAMES:
            yield from zip_members(item, (item.stem.lower(),), limits, archives)
        elif item.is_file() and len(parts) > 1:
            yield parts, partial(file_bytes, item, limits)


def _labelled(path: Path, entries: list[Entry], folders: set[tuple[str, ...]]) -> list[Entry]:
    """Give every entry its split and class, and refuse classes without images."""
    if not entries:
        raise InputError(f"{path}: has no PNG, JPEG or DICOM image in class folders")
    above = 0
    tops = {entry.parts[0].lower() for entry in entries}
    while len(tops) == 1 and not tops & _SPLIT_NAMES.keys() and all(len(e.parts) > above + 2 for e in entries):
        above += 1
        tops = {entry.parts[above].lower() for entry in entries}
    deeper = above + (1 if tops <= _SPLIT_NAMES.keys() else 0)
    labelled = []
    for entry in entries:
        if len(entry.parts) < deeper + 2:
            raise InputError(f"{path}: {entry.name} lies outside of the class folders; put it into one, or remove it")
        split = _SPLIT_NAMES[entry.parts[above].lower()] if deeper > above else ""
        patient = "".join(entry.parts[deeper + 1 : -1][:1])
        labelled.append(replace(entry, split=split, label=entry.parts[deeper], patient=patient))
    empty = {f[deeper] for f in folders if len(f) == deeper + 1} - {entry.label for entry in labelled}
    if empty:
        raise InputError(f"{path}: empty class: the folder {min(empty)!r} has no image")
    if len({entry.label for entry in labelled}) < 2:
        raise InputError(f"{path}: only one class folder ({labelled[0].label!r}) was found; two are needed at least")
    return labelled


def _decode(
    path: Path, entries: list[Entry], classes: tuple[str, ...], image_size: tuple[int, int] | None, limits: Limits
) -> tuple[Split, list[str]]:
    pictures: list[NDArray[np.uint8]] = []
    groups, digests, size = [], [], 0
    for entry in entries:
        data = entry.load()
        name = f"{path}/{entry.name}"
        picture = to_pixels(decode_image(data, name, limits=limits), name, image_size=image_size)
        size += picture.nbytes
        if size > limits.dataset_bytes:
            raise InputError(
                f"{path}: more than {limits.dataset_bytes >> 20} MiB of images; choose a smaller image size"
            )
        _check_same_size(path, entry, picture, entries[0], pictures[0] if pictures else picture)
        pictures.append(picture)
        digests.append(hashlib.sha256(data).hexdigest())
        groups.append(_group(entry, data, name, limits))
    channels = max(len(picture) for picture in pictures)
    images = np.stack([np.broadcast_to(picture, (channels, *picture.shape[1:])) for picture in pictures])
    labels = np.array([classes.index(entry.label) for entry in entries], np.int64)
    return Split(images, labels, tuple(groups), tuple(entry.name for entry in entries)), digests


def _check_same_size(path: Path, entry: Entry, picture: NDArray[Any], first_entry: Entry, first: NDArray[Any]) -> None:
    if picture.shape[1:] != first.shape[1:]:
        (h, w), (h0, w0) = picture.shape[1:], first.shape[1:]
        raise InputError(
            f"{path}: images of several sizes: {h0} x {w0} ({first_entry.name}) and {h} x {w} ({entry.name}); "
            "give an image size to resize them to (--image-size, image_size=)"
        )


def person_in_name(file_name: str) -> str | None:
    """Whose image a file name says it is, or None.

    >>> person_in_name("person100_bacteria_475.jpeg"), person_in_name("IM-0115-0001.jpeg"), person_in_name("1.png")
    ('person100', 'IM-0115', None)
    """
    found = _PERSON.match(file_name)
    return (found[1] or found[2]) if found else None


def _group(entry: Entry, data: bytes, name: str, limits: Limits) -> str:
    person = person_in_name(entry.parts[-1])
    if person:
        return f"{entry.split or 'all'}/{person}"
    key = patient_key(data, name, limits=limits) if data[128:132] == b"DICM" else None
    return key or entry.patient or entry.name


def _three_splits(
    path: Path, entries: list[Entry], split: Split, digests: list[str], seed: int
) -> tuple[Split, Split, Split]:
    where = np.array([entry.split or "train" for entry in entries])
    present = [s for s in ("train", "val", "test") if (where == s).any()]
    if "train" not in present:
        raise InputError(f"{path}: has no train folder, only {', '.join(present)}")
    groups = merge_groups(split.groups, digests) if len(present) < 3 else split.groups
    for missing, fraction in (("test", 0.2), ("val", 0.15)):
        if missing not in present:
            train = np.flatnonzero(where == "train")
            out = hold_out([groups[i] for i in train], split.labels[train], fraction, seed=seed, name=str(path))
            where[train[out]] = missing
    return split.take(where == "train"), split.take(where == "val"), split.take(where == "test")
