"""DICOM SEG to a label map on the grid of an image, matched by where frames lie and never by their order."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from medapps.errors import ImageError, InputError
from medapps.image import Image
from medapps.readers.dicom import reference_key
from medapps.readers.dicom_geometry import Plane, plane
from medapps.readers.dicom_parse import looks_like_dicom, parse, parse_header, quiet
from medapps.readers.dicom_pixels import read_claims, stored_frames
from medapps.readers.dicom_values import frame_group
from medapps.readers.files import file_bytes
from medapps.readers.grid import NEAR, on_grid
from medapps.readers.limits import DEFAULT_LIMITS, Limits

__all__ = ["Segments", "list_segments", "read_seg"]

T = TypeVar("T")

_KINDS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # segmentation, label map segmentation


@dataclass(frozen=True)
class Segments:
    """What a DICOM segmentation holds: names of its segments, "BINARY", "FRACTIONAL" or "LABELMAP", and its frames."""

    names: tuple[str, ...]
    kind: str
    frames: int
    rows: int
    columns: int


def list_segments(path: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS) -> Segments | None:
    """The segments of a file, from its header; None if it is no DICOM segmentation."""
    name = os.fspath(path)
    data = file_bytes(path, limits)
    if not looks_like_dicom(data):
        return None
    return _careful(name, lambda: _segments(parse_header(io.BytesIO(data), name, limits)))


def read_seg(
    path: str | os.PathLike[str], like: Image, *, overlap: str = "refuse", limits: Limits = DEFAULT_LIMITS
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Read a DICOM segmentation as a label map in the place of `like`.

    Each set pixel becomes the voxel of `like` at its place in the patient, up to a tenth of a voxel; the grids may run
    along their axes in any order or direction, but must have the same steps. BINARY and LABELMAP objects are read;
    FRACTIONAL ones count from half of their maximum.

    Args:
        path: the file.
        like: the image the segmentation is about. Where it carries `meta["frame_of_reference"]` (all of DICOM), that
            of the segmentation must be the same.
        overlap: "refuse", or "last": where segments overlap, the one with the higher number wins.
        limits: on the file, on one frame, and on the number of frames, which are decoded one by one.

    Returns:
        (mask, names): mask is (z, y, x), uint8, an index into names; names[0] is "background", the others are the
        labels of the segments in order of their numbers.

    Raises:
        ImageError: if the file is no segmentation, lies elsewhere or on another grid, or its segments overlap.
        InputError: if `like` has no place in space.
    """
    if overlap not in ("refuse", "last"):
        raise InputError(f"read_seg: overlap must be 'refuse' or 'last', got {overlap!r}")
    if like.origin_mm is None or like.direction is None or like.spacing_mm is None:
        raise InputError("read_seg: `like` has no position in space, so a segmentation cannot be laid on it")
    name = os.fspath(path)
    data = file_bytes(path, limits)
    return _careful(name, lambda: _read(parse(data, name, limits), name, like, overlap, limits))


def _careful(name: str, read: Callable[[], T]) -> T:
    """Run `read` with pydicom silenced and whatever it raises as one sentence."""
    with quiet():
        try:
            return read()
        except ImageError:
            raise
        except Exception as error:  # pydicom raises nine classes and more on damaged files; their texts quote the file
            raise ImageError(
                f"{name}: a damaged DICOM file, reading it stopped with {type(error).__name__}; copy or export it again"
            ) from None


def _segments(dataset: Any) -> Segments | None:
    if str(dataset.get("SOPClassUID") or "") not in _KINDS:
        return None
    kind = str(dataset.get("SegmentationType") or "")
    frames, rows, columns = (int(dataset.get(k) or 0) for k in ("NumberOfFrames", "Rows", "Columns"))
    return Segments(tuple(_names(dataset).values()), kind, frames, rows, columns)


def _names(dataset: Any) -> dict[int, str]:
    """Label of each segment by its number, in order of the numbers."""
    labels = {int(s.SegmentNumber): str(s.get("SegmentLabel") or "") for s in dataset.SegmentSequence}
    return {number: labels[number] or f"segment {number}" for number in sorted(labels)}


def _read(
    dataset: Any, name: str, like: Image, overlap: str, limits: Limits
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    if str(dataset.get("SOPClassUID") or "") not in _KINDS:
        raise ImageError(f"{name}: is no DICOM segmentation; read it with read_image")
    names = _names(dataset)
    if len(names) > 255:
        raise ImageError(f"{name}: has {len(names)} segments, more than the 255 a label map can hold; split it")
    ours, theirs = like.meta.get("frame_of_reference", ""), reference_key(dataset)
    if ours and theirs != ours:
        raise ImageError(f"{name}: lies in another frame of reference than the image; it belongs to another scan")
    labels = {number: i for i, number in enumerate(names, start=1)}
    mask = np.zeros(like.shape[1:], np.uint8)
    header = read_claims(dataset, name)
    for index, pixels in enumerate(stored_frames(dataset, header, name, limits)):
        for label, chosen in _labelled(dataset, index, pixels, labels):
            where = _voxels(plane(dataset, index), chosen, like, f"{name}: frame {index + 1}")
            _lay(mask, where, label, overlap, name)
    return mask, ("background", *names.values())


def _labelled(
    dataset: Any, index: int, pixels: NDArray[Any], labels: dict[int, int]
) -> list[tuple[int, NDArray[np.bool_]]]:
    """(label, pixels) of each segment in a frame; those without a pixel are left out."""
    if str(dataset.get("SegmentationType")) == "LABELMAP":
        present = np.unique(pixels)
        return [(labels[int(number)], pixels == number) for number in present if int(number) in labels]
    identity = frame_group(dataset, index, "SegmentIdentificationSequence") or dataset
    number = int(identity.ReferencedSegmentNumber)
    fractional = str(dataset.get("SegmentationType")) == "FRACTIONAL"
    half = int(dataset.MaximumFractionalValue) / 2 if fractional else 1
    chosen = pixels >= half
    return [(labels[number], chosen)] if chosen.any() else []


def _voxels(place: Plane, chosen: NDArray[np.bool_], like: Image, name: str) -> tuple[NDArray[np.int64], ...]:
    """(z, y, x) indices in `like` of the chosen pixels of a frame.

    Raises:
        ImageError: if the frame has no place, lies on another grid, or beyond the image.
    """
    found = on_grid(place, like)
    if found is None:
        raise ImageError(f"{name} does not say where it lies")
    if not found.is_aligned(*chosen.shape):
        raise ImageError(f"{name} lies on another grid than the image; resample one to the other")
    if np.abs(found.start - np.rint(found.start)).max() > NEAR:
        raise ImageError(f"{name} lies between the voxels of the image; resample one to the other")
    rows, columns = np.nonzero(chosen)
    exact = found.start[:, None] + found.down[:, None] * rows + found.right[:, None] * columns
    index = np.rint(exact).astype(np.int64)[::-1]
    if (index < 0).any() or (index >= np.array(like.shape[1:])[:, None]).any():
        raise ImageError(f"{name} reaches beyond the image; give the whole series")
    return tuple(index)


def _lay(
    mask: NDArray[np.uint8],
    where: tuple[NDArray[np.int64], ...],
    label: int,
    overlap: str,
    name: str,
) -> None:
    before = mask[where]
    other = before[(before > 0) & (before != label)]
    if other.size and overlap == "refuse":
        raise ImageError(
            f"{name}: segments {int(other[0])} and {label} overlap, which a label map cannot show; "
            "choose overlap='last' to let the higher number win"
        )
    mask[where] = np.maximum(before, label)
