"""Segmentation data in one .npz file, in the manner of MedMNIST's: `{train,val,test}_images` with label maps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.image import Image
from medapps.readers.limits import DEFAULT_LIMITS, Limits
from medapps.readers.npz import load_arrays
from medapps.readers.segmentation import Case, SegmentationData
from medapps.readers.splitting import hold_out

__all__ = ["read_mask_npz"]

_SPLITS = ("train", "val", "test")


def read_mask_npz(
    path: Path, *, seed: int = 0, classes: Sequence[str] = (), limits: Limits = DEFAULT_LIMITS
) -> SegmentationData:
    """Read `{split}_images` (N, H, W) or (N, H, W, 3), uint8, with `{split}_masks` or `{split}_labels` (N, H, W).

    Label maps of one byte hold classes, named by `class_names` if it is there. Wider integers number single objects,
    as instance maps do; all of them become one class, "object". Missing splits are held out from train. `{split}_ids`
    or `{split}_names` name the pictures; each is a group of its own unless `{split}_groups` says whose it is.

    Raises:
        InputError: one sentence that names the file and the key.
    """
    arrays = load_arrays(path, limits)
    found = {split: _cases(path, split, arrays) for split in _SPLITS if f"{split}_images" in arrays}
    if "train" not in found:
        raise InputError(f"{path}: train_images is needed, the file holds {', '.join(sorted(arrays)) or 'nothing'}")
    for missing, fraction in (("test", 0.2), ("val", 0.15)):
        if missing not in found:
            train, groups = found["train"], [case.group for case in found["train"]]
            out = hold_out(groups, np.zeros(len(train), np.int64), fraction, seed=seed, name=str(path))
            found[missing] = [case for case, held in zip(train, out, strict=True) if held]
            found["train"] = [case for case, held in zip(train, out, strict=True) if not held]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    names = _names(path, arrays, found)
    if classes and tuple(classes) != names[1:]:
        raise InputError(f"{path}: has the classes {', '.join(names[1:])}, not {', '.join(classes)}")
    splits: dict[str, Any] = {split: tuple(cases) for split, cases in found.items()}
    return SegmentationData(name=path.stem, classes=names, **splits, synthetic=False, digest=digest)


def _cases(path: Path, split: str, arrays: dict[str, NDArray[Any]]) -> list[Case]:
    images = arrays[f"{split}_images"]
    masks = arrays.get(f"{split}_masks", arrays.get(f"{split}_labels"))
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise InputError(f"{path}: {split}_images must be (N, H, W) or (N, H, W, 3), got {images.shape}")
    if masks is None or masks.shape != images.shape[:3] or masks.dtype.kind not in "iub":
        got = "none" if masks is None else f"{masks.dtype} {masks.shape}"
        raise InputError(f"{path}: {split}_masks must be whole numbers {images.shape[:3]} like the images, got {got}")
    labels = masks.astype(np.uint8) if masks.itemsize == 1 else (masks > 0).astype(np.uint8)
    names = _texts(arrays, split, ("ids", "names"), [f"{i:05d}" for i in range(len(images))])
    groups = _texts(arrays, split, ("groups",), [f"{split}/{name}" for name in names])
    return [
        Case(f"{split}/{name}", group, Image(np.moveaxis(image, -1, 0)[:, None]), mask[None])
        for name, group, image, mask in zip(names, groups, images, labels, strict=True)
    ]


def _texts(arrays: dict[str, NDArray[Any]], split: str, keys: Sequence[str], default: list[str]) -> list[str]:
    for key in keys:
        given = arrays.get(f"{split}_{key}")
        if given is not None and given.shape == (len(default),):
            return [str(text) for text in given]
    return default


def _names(path: Path, arrays: dict[str, NDArray[Any]], found: dict[str, list[Case]]) -> tuple[str, ...]:
    largest = max(int(case.mask.max()) for cases in found.values() for case in cases)
    if "class_names" in arrays:
        names = tuple(str(name) for name in arrays["class_names"].ravel())
        if len(names) <= largest:
            raise InputError(f"{path}: class_names names {len(names)} classes, but a mask holds {largest}")
        return names
    return ("background", "object") if largest <= 1 else ("background", *(f"class {i}" for i in range(1, largest + 1)))
