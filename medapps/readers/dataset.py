"""read_dataset and read_segmentation: one call for every kind of data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from medapps.errors import InputError
from medapps.readers.data import ClassificationData
from medapps.readers.folder import read_folder
from medapps.readers.limits import DEFAULT_LIMITS, Limits
from medapps.readers.mask_npz import read_mask_npz
from medapps.readers.npz import read_npz
from medapps.readers.pairs import read_pairs
from medapps.readers.patches import is_phantom_folder, read_patches
from medapps.readers.segmentation import SegmentationData

__all__ = ["read_dataset", "read_segmentation"]


def read_dataset(
    path: str | os.PathLike[str],
    *,
    seed: int = 0,
    image_size: int | tuple[int, int] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> ClassificationData:
    """Read a labelled data set: an .npz in MedMNIST's layout, class folders (or a zip of them), a phantom folder.

    Args:
        path: the file or folder.
        seed: decides which patients are held out, where the data set does not say it itself.
        image_size: side, or (H, W), in pixels to resize to with antialiasing; None keeps images as they are. For a
            phantom folder it is the side of the tissue patches (32 when None), which are cut out, not resized.

    Raises:
        InputError: one sentence that names the file, what is wrong and the way out.
    """
    source = Path(path)
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if size is not None and (len(size) != 2 or not all(1 <= side <= 4096 for side in size)):
        raise InputError(f"read_dataset: image_size must be 1 to 4096 pixels, got {image_size}")
    if not source.exists():
        raise InputError(f"{source}: there is no such file or folder")
    if source.is_dir():
        reader = read_patches if is_phantom_folder(source) else read_folder
        return reader(source, seed=seed, image_size=size, limits=limits)
    with source.open("rb") as file:
        start = file.read(4)
    if source.suffix.lower() == ".npz":
        return read_npz(source, seed=seed, image_size=size, limits=limits)
    if start == b"PK\x03\x04":
        return read_folder(source, seed=seed, image_size=size, limits=limits)
    raise InputError(f"{source}: not a data set; give an .npz file, a folder of class folders, or a zip of them")


def read_segmentation(
    path: str | os.PathLike[str], *, seed: int = 0, classes: Sequence[str] = (), limits: Limits = DEFAULT_LIMITS
) -> SegmentationData:
    """Read images with label maps: an .npz file, a folder of pairs (PNG, DICOM, NIfTI), a phantom folder.

    seed: decides which patients are held out, where the data set does not say it itself.
    classes: names of the label values to keep, the others become background; all when empty.

    Raises:
        InputError: one sentence that names the file, what is wrong and the way out.
    """
    source = Path(path)
    if not source.exists():
        raise InputError(f"{source}: there is no such file or folder")
    if source.is_dir():
        return read_pairs(source, seed=seed, classes=classes, limits=limits)
    if source.suffix.lower() == ".npz":
        return read_mask_npz(source, seed=seed, classes=classes, limits=limits)
    raise InputError(f"{source}: not segmentation data; give an .npz file, or a folder with images/ and labels/")
