"""The DICOM files of a folder or zip, grouped into series by their headers alone."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from medapps.errors import ImageError
from medapps.readers.archive import zip_members
from medapps.readers.dicom_geometry import plane
from medapps.readers.dicom_parse import looks_like_dicom, parse_header, quiet
from medapps.readers.dicom_pixels import uid_name
from medapps.readers.dicom_values import modality_of
from medapps.readers.files import file_bytes
from medapps.readers.limits import Limits
from medapps.readers.stack import Slice

__all__ = ["DicomFile", "StudyPath", "group", "study_files"]

StudyPath = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

_DIRECTORY = "1.2.840.10008.1.3.10"  # DICOMDIR
_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")


@dataclass(frozen=True)
class File:
    """A file of a study, on disk or in a zip."""

    name: str
    load: Callable[[], bytes]
    path: Path | None = None


@dataclass(frozen=True, eq=False)
class DicomFile:
    """What the header of one DICOM file says, as technical facts.

    error: why it could not be read; then the other fields are empty.
    slices: one per frame; empty for an object without an image.
    """

    file: File
    error: str = ""
    series: str = ""
    instance: str = ""
    modality: str = ""
    kind: str = ""
    slices: tuple[Slice, ...] = ()
    private: bool = False
    burned_in: str = ""
    names_patient: bool = False


def study_files(path: StudyPath, limits: Limits, archives: ExitStack) -> Iterator[File]:
    """Every file of a folder (with those below it), a zip, or a list; hidden ones are left out."""
    if not isinstance(path, str | os.PathLike):
        for one in path:
            yield File(os.fspath(one), partial(file_bytes, one, limits), Path(one))
        return
    root = Path(path)
    if root.is_dir():
        for item in sorted(p for p in root.rglob("*") if p.is_file()):
            parts = item.relative_to(root).parts
            if not any(part.startswith(".") for part in parts):
                yield File("/".join(parts), partial(file_bytes, item, limits), item)
    elif root.is_file() and _is_zip(root):
        for parts, load in sorted(zip_members(root, (), limits, archives), key=lambda member: member[0]):
            if load is not None and not any(part.startswith((".", "__MACOSX")) for part in parts):
                yield File("/".join(parts), load)
    else:
        yield File(root.name, partial(file_bytes, root, limits), root)


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def group(path: StudyPath, limits: Limits, archives: ExitStack) -> dict[str, list[DicomFile]]:
    """The DICOM files by SeriesInstanceUID; those that could not be read are under "". Other files are left out."""
    found: dict[str, list[DicomFile]] = {}
    for count, file in enumerate(study_files(path, limits, archives), start=1):
        if count > limits.dataset_images:
            raise ImageError(f"{path}: more than the {limits.dataset_images} files allowed; name a folder inside")
        facts = _facts(file, limits)
        if facts is not None:
            found.setdefault(facts.series, []).append(facts)
    return found


def _facts(file: File, limits: Limits) -> DicomFile | None:
    """The facts of one file; None for a file that is no DICOM image or object."""
    with quiet():
        try:
            dataset = _header(file, limits)
            return None if dataset is None else _read(file, dataset, limits)
        except ImageError as error:
            return DicomFile(file, error=str(error))
        except Exception as error:  # pydicom raises nine classes and more; their texts quote the file
            return DicomFile(file, error=f"{file.name}: a damaged DICOM file ({type(error).__name__}); copy it again")


def _header(file: File, limits: Limits) -> Any:
    if file.path is None:
        data = file.load()
        return parse_header(io.BytesIO(data), file.name, limits) if looks_like_dicom(data) else None
    try:
        with file.path.open("rb") as opened:
            if not looks_like_dicom(opened.read(132)):
                return None
            if opened.seek(0, 2) > limits.file_bytes:
                raise ImageError(f"{file.name}: more than the {limits.file_bytes >> 20} MiB allowed for a file")
            opened.seek(0)
            return parse_header(opened, file.name, limits)
    except OSError as error:
        raise ImageError(f"{file.name}: could not be read ({error.strerror or type(error).__name__})") from None


def _read(file: File, dataset: Any, limits: Limits) -> DicomFile | None:
    kind = str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or "")
    if kind == _DIRECTORY:
        return None
    identity = str(dataset.get("PatientIdentityRemoved") or "") != "YES"
    return DicomFile(
        file,
        series=str(dataset.get("SeriesInstanceUID") or "no series UID"),
        instance=str(dataset.get("SOPInstanceUID") or ""),
        modality=modality_of(dataset),
        kind=uid_name(kind),
        slices=() if kind in _SEGMENTATIONS else _slices(file.name, dataset, limits),
        private=any(tag.is_private for tag in dataset.keys()),  # noqa: SIM118  a Dataset iterates over elements
        burned_in=str(dataset.get("BurnedInAnnotation") or ""),
        names_patient=identity and any(bool(dataset.get(k)) for k in ("PatientName", "PatientID")),
    )


def _slices(name: str, dataset: Any, limits: Limits) -> tuple[Slice, ...]:
    if dataset.get("Rows") is None or dataset.get("Columns") is None:
        return ()
    rows, columns, frames = int(dataset.Rows), int(dataset.Columns), int(dataset.get("NumberOfFrames") or 1)
    limits.check_decoded(name, rows, columns, frames, 1, 1)
    reference = str(dataset.get("FrameOfReferenceUID") or "")
    names = [name] if frames == 1 else [f"{name}[frame {i + 1}]" for i in range(frames)]
    return tuple(Slice(names[i], rows, columns, plane(dataset, i), reference) for i in range(frames))
