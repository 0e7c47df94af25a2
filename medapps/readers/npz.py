"""Data sets in MedMNIST's .npz layout, read without trusting the file: no pickle, sizes checked before reading."""

from __future__ import annotations

import hashlib
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.readers.data import ClassificationData, Split
from medapps.readers.limits import DEFAULT_LIMITS, Limits
from medapps.readers.pixels import resize
from medapps.readers.splitting import hold_out

__all__ = ["load_arrays", "read_npz"]

_SPLITS = ("train", "val", "test")
# MedMNIST files carry no class names; these are from its publication (Yang et al. 2023, info page).
_CLASSES = {
    "pneumoniamnist": ("normal", "pneumonia"),
    "breastmnist": ("malignant", "normal or benign"),
}


def read_npz(
    path: Path, *, seed: int = 0, image_size: tuple[int, int] | None = None, limits: Limits = DEFAULT_LIMITS
) -> ClassificationData:
    """Read `{train,val,test}_images` (N, H, W[, 3]), `_labels` (N,) or (N, 1) and, where given, `_groups` (N,).

    Missing val or test splits are held out from train. `_groups`, texts or whole numbers, say whose each image is; they
    are no part of MedMNIST's layout. Without them each image is a group of its own.

    Raises:
        InputError: one sentence that names the file and the key.
    """
    arrays = load_arrays(path, limits)
    present = [s for s in _SPLITS if f"{s}_images" in arrays]
    if "train" not in present:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise InputError(f"{path}: not in MedMNIST's layout: train_images is needed, the file holds {found}")
    if len({f"{s}_groups" in arrays for s in present}) > 1:
        lacking = next(s for s in present if f"{s}_groups" not in arrays)
        raise InputError(f"{path}: {lacking}_groups is missing; give groups for every split or for none")
    splits = {s: _split(path, s, arrays, image_size) for s in present}
    for missing, fraction in (("test", 0.2), ("val", 0.15)):
        if missing not in splits:
            train = splits["train"]
            out = hold_out(train.groups, train.labels, fraction, seed=seed, name=str(path))
            splits[missing], splits["train"] = train.take(out), train.take(~out)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    classes = _class_names(path, arrays, splits["train"])
    return ClassificationData(path.stem, classes, splits["train"], splits["val"], splits["test"], False, digest)


def load_arrays(path: Path, limits: Limits = DEFAULT_LIMITS) -> dict[str, NDArray[Any]]:
    """Every array of an .npz file, by name, read-only.

    Raises:
        InputError: for a damaged or truncated file, object arrays (pickle), or arrays that claim more than the limit.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            left, arrays = limits.dataset_bytes, {}
            for info in archive.infolist():
                if info.filename.endswith(".npy"):
                    array = _load_array(path, archive, info, left)
                    left -= array.nbytes
                    arrays[info.filename[:-4]] = array
            return arrays
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except Exception as error:  # BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, OSError, ...
        raise InputError(
            f"{path}: a truncated or damaged .npz file ({type(error).__name__}); download or copy it again"
        ) from None


def _load_array(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, left: int) -> NDArray[Any]:
    name = info.filename[:-4]
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        if dtype.hasobject:
            raise InputError(f"{path}: {name} holds Python objects (pickle), which could run code; save plain arrays")
        size = math.prod(shape) * dtype.itemsize
        if size > left:
            raise InputError(f"{path}: {name} claims {size >> 20} MiB, more than the {left >> 20} MiB left")
        data = file.read(size)
        if len(data) != size:
            raise InputError(f"{path}: {name} is truncated, {len(data)} of {size} bytes are there; copy the file again")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _split(path: Path, split: str, arrays: dict[str, NDArray[Any]], size: tuple[int, int] | None) -> Split:
    images = _images(path, f"{split}_images", arrays[f"{split}_images"])
    labels = _labels(path, f"{split}_labels", arrays.get(f"{split}_labels"), len(images))
    if size is not None and images.shape[2:] != size:
        images = np.stack([resize(image, size) for image in images])
    given = arrays.get(f"{split}_names")
    names = tuple(f"{split}/{i:05d}" for i in range(len(images)))
    if given is not None and given.shape == (len(images),):
        names = tuple(f"{split}/{text}" for text in given)
    return Split(images, labels, _groups(path, split, arrays, len(images)), names)


def _groups(path: Path, split: str, arrays: dict[str, NDArray[Any]], count: int) -> tuple[str, ...]:
    """The same words in every split, so that a patient in two of them is noticed."""
    given = arrays.get(f"{split}_groups")
    if given is None:
        return tuple(f"{split}/{i:05d}" for i in range(count))
    flat = given.reshape(-1)
    if len(flat) != count or flat.dtype.kind not in "uiU":
        raise InputError(
            f"{path}: {split}_groups must hold {count} texts or whole numbers, one for each image, "
            f"got {given.dtype} of shape {given.shape}"
        )
    return tuple(f"group {value}" for value in flat.tolist())


def _images(path: Path, key: str, images: NDArray[Any]) -> NDArray[Any]:
    if images.ndim == 4 and images.shape[3] in (1, 3):
        images = np.moveaxis(images, 3, 1)
    elif images.ndim == 3:
        images = images[:, None]
    else:
        raise InputError(f"{path}: {key} must be (N, H, W) or (N, H, W, 3), got {images.shape}")
    if images.dtype == bool:
        return np.ascontiguousarray(images.astype(np.uint8) * np.uint8(255))
    if images.dtype.kind not in "uif" or 0 in images.shape:
        raise InputError(f"{path}: {key} must hold numbers, got {images.dtype} of shape {images.shape}")
    return np.ascontiguousarray(images if images.dtype == np.uint8 else images.astype(np.float32))


def _labels(path: Path, key: str, labels: NDArray[Any] | None, count: int) -> NDArray[np.int64]:
    if labels is None:
        raise InputError(f"{path}: {key} is missing")
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise InputError(f"{path}: {key} has {labels.shape[1]} labels per image; only one per image is read yet")
    flat = labels.reshape(-1)
    if len(flat) != count:
        raise InputError(f"{path}: {key} has {len(flat)} labels for {count} images")
    if flat.dtype.kind not in "uibf" or not (np.isfinite(flat).all() and (flat % 1 == 0).all()):
        raise InputError(f"{path}: {key} must hold whole numbers, got {labels.dtype}")
    return flat.astype(np.int64)


def _class_names(path: Path, arrays: dict[str, NDArray[Any]], train: Split) -> tuple[str, ...]:
    given = arrays.get("class_names")
    if given is not None and given.ndim == 1 and given.dtype.kind == "U":
        return tuple(str(name) for name in given)
    count = int(train.labels.max(initial=0)) + 1
    known = _CLASSES.get(path.stem.lower().split("_")[0], ())
    return known if len(known) >= count else tuple(f"class {i}" for i in range(count))
