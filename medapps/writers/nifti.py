"""A label map as NIfTI-1, in the same place of the world as its image."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.image import Image

__all__ = ["nifti_affine", "nifti_bytes"]

_SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT


def nifti_bytes(array: NDArray[Any], image: Image, *, compressed: bool = False) -> bytes:
    """A NIfTI-1 file of `array`, (z, y, x), that lies where `image` lies.

    sform and qform say the same. Unless `image` knows its spacing, origin and
    direction, both are marked as unset. The same
    arguments give the same bytes.

    Raises:
        InputError: if the step between several slices is not known.
    """
    import nibabel

    placed = image.spacing_mm is not None and image.direction is not None and image.origin_mm is not None
    affine = nifti_affine(image)
    written = nibabel.Nifti1Image(np.ascontiguousarray(array).transpose(2, 1, 0), affine if placed else None)
    if placed:
        written.header.set_sform(affine, code=_SCANNER)
        written.header.set_qform(affine, code=_SCANNER)
    else:
        written.header.set_zooms(np.linalg.norm(affine[:3, :3], axis=0))
    written.header.set_xyzt_units("unknown" if image.spacing_mm is None else "mm")
    data = written.to_bytes()
    return gzip.compress(data, mtime=0) if compressed else bytes(data)


def nifti_affine(image: Image) -> NDArray[np.float64]:
    """4 x 4, from voxel (x, y, z) to RAS mm.

    What `image` does not know becomes a step of 1 and the place (0, 0, 0), for NIfTI has no word for unknown.

    >>> nifti_affine(Image(np.zeros((1, 1, 2, 2)), (3.0, 2.0, 1.0), (5.0, 6.0, 7.0))).tolist()
    [[-1.0, 0.0, 0.0, -5.0], [0.0, -2.0, 0.0, -6.0], [0.0, 0.0, 3.0, 7.0], [0.0, 0.0, 0.0, 1.0]]
    """
    z, y, x = image.spacing_mm or (1.0, 1.0, 1.0)
    if z is None and image.shape[1] > 1:
        raise InputError("write_mask: the distance between slices is not known, so NIfTI cannot place them; write PNG")
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(image.direction or np.eye(3)) @ np.diag([x, y, z or 1.0])
    affine[:3, 3] = image.origin_mm or (0.0, 0.0, 0.0)
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
