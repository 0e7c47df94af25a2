"""write_mask: one call for every kind of file; the suffix decides."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.files import write_bytes
from medapps.image import Image
from medapps.writers.nifti import nifti_bytes

__all__ = ["Algorithm", "write_mask"]


@dataclass(frozen=True)
class Algorithm:
    """What made a mask.

    name, version: of the program or model.
    model_sha256: of the model file, or "" where no model was used.
    """

    name: str
    version: str
    model_sha256: str = ""


@dataclass(frozen=True)
class Job:
    """All that a writer is given."""

    mask: NDArray[np.uint8]
    image: Image
    classes: tuple[str, ...]
    algorithm: Algorithm
    source: Any


def write_mask(
    path: str | os.PathLike[str],
    mask: NDArray[Any],
    image: Image,
    classes: Sequence[str],
    *,
    algorithm: Algorithm,
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a label map; the suffix says as what.

    .nii, .nii.gz: NIfTI-1, uint8, in the place of `image`.

    Args:
        path: the file to write.
        mask: (z, y, x), whole numbers, an index into `classes`; 0 is background.
        image: what the mask lies on.
        classes: names, the first of them for the background.
        algorithm: what made the mask.
        source: the DICOM files (or their folder) that `image` was read from; for .dcm only.
        overwrite: replace a file that is there.

    Returns:
        The file.

    Raises:
        InputError: if the mask does not fit, the suffix is not known, or the file is there.
        OutputError: if it cannot be written.
    """
    target = Path(path)
    writer = _writer(target)
    if target.exists() and not overwrite:
        raise InputError(f"{target}: is there already; choose another name, or overwrite it")
    return write_bytes(target, writer(Job(_labels(mask, image, classes), image, tuple(classes), algorithm, source)))


def _labels(mask: NDArray[Any], image: Image, classes: Sequence[str]) -> NDArray[np.uint8]:
    """The mask as uint8, after a look at its size and labels."""
    if mask.shape != image.shape[1:]:
        raise InputError(f"write_mask: mask must be (z, y, x) = {image.shape[1:]} as its image is, got {mask.shape}")
    if mask.dtype.kind not in "iub":
        raise InputError(f"write_mask: mask must hold whole numbers, got {mask.dtype}")
    low, high = int(mask.min()), int(mask.max())
    if low < 0 or high >= len(classes) or len(classes) > 256:
        raise InputError(f"write_mask: labels must be 0 to {min(len(classes), 256) - 1}, got {low} to {high}")
    return mask.astype(np.uint8)


def _nifti(job: Job) -> bytes:
    return nifti_bytes(job.mask, job.image)


def _packed_nifti(job: Job) -> bytes:
    return nifti_bytes(job.mask, job.image, compressed=True)


_WRITERS: dict[str, Callable[[Job], bytes]] = {".nii.gz": _packed_nifti, ".nii": _nifti}


def _writer(path: Path) -> Callable[[Job], bytes]:
    for suffix, writer in _WRITERS.items():
        if path.name.lower().endswith(suffix):
            return writer
    raise InputError(f"{path}: masks are written as {', '.join(_WRITERS)}; give a name that ends so")
