"""DICOM series: what a study holds, and one series of it as one volume."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.errors import ImageError
from medapps.image import Image, Spacing
from medapps.readers.dicom import read_dicom
from medapps.readers.limits import DEFAULT_LIMITS, Limits
from medapps.readers.stack import Fault, Stack, judge, orientation
from medapps.readers.study import DicomFile, StudyPath, group

__all__ = ["SeriesInfo", "list_series", "read_series"]

_MANY = 4  # bytes of a voxel that a header does not tell: values become float32


@dataclass(frozen=True)
class SeriesInfo:
    """One series of a study, from its headers: technical facts, nothing typed by a person.

    number: from 1, for `read_series(path, series=number)`; 0 for files that cannot be read.
    uid: SeriesInstanceUID.
    modality: DICOM's code, or "". kind: the standard's name of the object class.
    files, slices: how many; slices is 0 for objects without an image, such as a report.
    rows, columns, spacing_mm (z, y, x): as far as they are known and shared.
    orientation: "axial", "oblique sagittal", ... or "unknown".
    code, verdict: "" and "ok" for a volume; else a key of `medapps.readers.stack.CODES` and its sentence.
    warnings: about privacy, each a few words.
    """

    number: int
    uid: str
    modality: str
    kind: str
    files: int
    slices: int
    rows: int | None
    columns: int | None
    spacing_mm: Spacing | None
    orientation: str
    code: str
    verdict: str
    warnings: tuple[str, ...] = ()


def list_series(path: StudyPath, *, limits: Limits = DEFAULT_LIMITS) -> tuple[SeriesInfo, ...]:
    """The series in a folder, a zip, or a list of files; no pixels are read.

    Series with images come first. Files that are not DICOM are left out; DICOM files that cannot be read are the last
    entry, with number 0 and code G100.

    Raises:
        ImageError: if there is no DICOM file.
    """
    with ExitStack() as archives:
        found = _ordered(path, limits, archives)
        return tuple(_info(number, files) for number, files in found)


def read_series(path: StudyPath, series: int | str | None = None, *, limits: Limits = DEFAULT_LIMITS) -> Image:
    """Read one series as a volume, its slices in order of their position along the normal of their plane.

    Values as `read_dicom` gives them: rescaled, CT in HU. The display is that of the middle slice. Multi-frame objects
    are sorted by the place of each frame. z runs along the normal, so that (x, y, z) is right-handed.

    Args:
        path: a folder, a zip, a file, or a list of files.
        series: which one, where there are several: its number in `list_series`, or its SeriesInstanceUID.
        limits: each file is held to `decoded_bytes`, the volume to `dataset_bytes`, before it is decoded.

    Raises:
        ImageError: one sentence with a code of `medapps.readers.stack.CODES` if the slices are no volume.
    """
    with ExitStack() as archives:
        files = _chosen(path, series, _ordered(path, limits, archives))
        slices = [s for file in files for s in file.slices]
        verdict = _judge(files)
        if isinstance(verdict, Fault):
            raise ImageError(f"{_name(path)}: {verdict}")
        claimed = sum(s.rows * s.columns for s in slices) * _MANY
        if claimed > limits.dataset_bytes:
            raise ImageError(
                f"{_name(path)}: the series claims {claimed >> 20} MiB decoded, more than the "
                f"{limits.dataset_bytes >> 20} MiB allowed"
            )
        return _volume(_name(path), files, verdict, limits)


def _name(path: StudyPath) -> str:
    if isinstance(path, str | os.PathLike):
        return os.fspath(path)
    return f"{len(path)} files"


Numbered = list[tuple[int, list[DicomFile]]]


def _ordered(path: StudyPath, limits: Limits, archives: ExitStack) -> Numbered:
    """Series with their numbers: images first, then in order of their files; unreadable files last, as 0."""
    found = group(path, limits, archives)
    if not found:
        raise ImageError(f"{_name(path)}: holds no DICOM file")
    broken = found.pop("", [])
    rows = sorted(found.values(), key=lambda files: (not any(f.slices for f in files), files[0].file.name))
    return [*enumerate(rows, start=1), *([(0, broken)] if broken else [])]


def _judge(files: list[DicomFile]) -> Stack | Fault:
    seen: dict[str, str] = {}
    for file in files:
        other = seen.setdefault(file.instance, file.file.name) if file.instance else file.file.name
        if other != file.file.name:
            return Fault("G102", f"{other} and {file.file.name} are the same image; keep one of them")
    return judge([s for file in files for s in file.slices])


def _info(number: int, files: list[DicomFile]) -> SeriesInfo:
    first = files[0]
    slices = [s for file in files for s in file.slices]
    code, verdict, spacing = "", "not an image", None
    if number == 0:
        code, verdict = "G100", first.error + (f" ({len(files) - 1} more)" if len(files) > 1 else "")
    elif slices:
        found = _judge(files)
        code, verdict = (found.code, str(found)) if isinstance(found, Fault) else ("", "ok")
        pixel = slices[0].plane.pixel_mm
        spacing = found.spacing_mm if isinstance(found, Stack) else None if pixel is None else (None, *pixel)
    sizes = {(s.rows, s.columns) for s in slices}
    rows, columns = sizes.pop() if len(sizes) == 1 else (None, None)
    plane = slices[0].plane if slices else None
    return SeriesInfo(
        number,
        first.series,
        first.modality,
        first.kind,
        len(files),
        len(slices),
        rows,
        columns,
        spacing,
        "mixed" if code == "G104" else orientation(plane.axes if plane else None),
        code,
        verdict,
        _warnings(files),
    )


def _warnings(files: list[DicomFile]) -> tuple[str, ...]:
    said = {
        "names a patient": any(f.names_patient for f in files),
        "private elements": any(f.private for f in files),
        "burned-in text": any(f.burned_in == "YES" for f in files),
    }
    return tuple(words for words, true in said.items() if true)


def _chosen(path: StudyPath, series: int | str | None, found: Numbered) -> list[DicomFile]:
    """The files of the series asked for."""
    name = _name(path)
    images = [(number, files) for number, files in found if any(f.slices for f in files)]
    if series is None:
        if found[-1][0] == 0:
            raise ImageError(f"{name}: {Fault('G100', found[-1][1][0].error)}")
        if not images:
            raise ImageError(f"{name}: holds no image series, only {found[0][1][0].kind or 'other DICOM objects'}")
        if len(images) > 1:
            raise ImageError(f"{name}: {Fault('G108', f'choose one with series=: {_menu(images)}')}")
        return images[0][1]
    for number, files in images:
        if series in (number, files[0].series):
            return files
    raise ImageError(f"{name}: there is no such image series; there are {_menu(images)}")


def _menu(images: Numbered) -> str:
    return ", ".join(
        f"{number} ({files[0].modality or 'unknown'}, {sum(len(f.slices) for f in files)} slices)"
        for number, files in images
    )


def _volume(name: str, files: list[DicomFile], stack: Stack, limits: Limits) -> Image:
    """Decode the files and lay their frames in order."""
    images = [read_dicom(file.file.load(), file.file.name, limits=limits) for file in files if file.slices]
    if len({image.shape[0] for image in images}) > 1:
        raise ImageError(f"{name}: {Fault('G105', 'grey and colour slices are mixed; split them')}")
    place = [(image, z) for image in images for z in range(image.shape[1])]
    if len(place) != len(stack.order):
        raise ImageError(f"{name}: the files changed while they were read")
    first = images[0]
    dtype = np.result_type(*(image.array.dtype for image in images))
    array: NDArray[Any] = np.empty((first.shape[0], len(place), *first.shape[2:]), dtype)
    for z, index in enumerate(stack.order):
        image, frame = place[index]
        array[:, z] = image.array[:, frame]
    middle = place[stack.order[len(place) // 2]][0]
    padded = sum(int(image.meta.get("padding_pixels", 0)) for image in images)
    meta = {k: v for k, v in middle.meta.items() if k not in ("geometry", "padding_pixels")}
    meta |= {"padding_pixels": str(padded)} if padded else {}
    return replace(
        middle,
        array=array,
        spacing_mm=stack.spacing_mm,
        origin_mm=stack.origin_mm,
        direction=stack.direction,
        meta=meta,
    )
