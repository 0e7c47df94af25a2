"""deidentify_study: a copy of a study without the patient's identity."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medapps import __version__
from medapps.deidentify.clean import clean
from medapps.deidentify.rules import Rules
from medapps.deidentify.secret import Secret
from medapps.errors import ImageError, InputError, OutputError
from medapps.files import make_folder, write_bytes
from medapps.readers.dicom_parse import looks_like_dicom, parse, quiet
from medapps.readers.limits import DEFAULT_LIMITS, Limits
from medapps.readers.study import File, StudyPath, study_files

__all__ = ["Export", "deidentify_study"]

_DIRECTORY = "1.2.840.10008.1.3.10"  # DICOMDIR: a list of the old files


@dataclass(frozen=True)
class Export:
    """What came of an export.

    folder: where the copies are.
    files, series: how many were written.
    unchecked: files among them whose pixels may show text; a person must look at them.
    skipped: (file, why) of those that were not copied.
    """

    folder: Path
    files: int
    series: int
    unchecked: int
    skipped: tuple[tuple[str, str], ...]


def deidentify_study(
    study: StudyPath,
    output: str | os.PathLike[str],
    *,
    dates: str = "remove",
    retain: Collection[str] = (),
    key: bytes | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Export:
    """Copy the DICOM files of a study without what names the patient: the basic profile of PS3.15, Annex E.

    All 617 attributes of its table are handled, in nested sequences too; private elements go; UIDs and the patient's
    name are replaced by a keyed hash, the same wherever they occur in the export; the preamble is zeroed; file names
    are numbers. `PatientIdentityRemoved` is YES only where the file itself says that no text is burned into its
    pixels (BurnedInAnnotation NO). Pixels are not changed: neither such text nor a face is removed.

    Args:
        study: a folder, a zip, a file, or a list of files.
        output: a folder that does not exist yet, or is empty. It appears when it is complete, or not at all.
        dates: "remove", or "shift" by 1 to 3650 days, one secret number for each patient.
        retain: options of the profile: "patient" (sex, age, size, weight), "device", "institution".
        key: at least 16 bytes; the same key gives the same replacements in another export. Random and thrown away
            when None.
        limits: on each file.

    Raises:
        InputError: for bad options, an output that is not empty, or a study without a DICOM file.
        OutputError: if it cannot be written.

    Source: DICOM PS3.15, Annex E (2025a).
    """
    rules = Rules(dates, tuple(retain))
    if key is not None and len(key) < 16:
        raise InputError(f"deidentify: the key has {len(key)} bytes; at least 16 are needed")
    target = Path(output)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target}: is there already; choose a new folder")
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        made = _copy(study, make_folder(partial), rules, Secret() if key is None else Secret(key), limits)
        if target.exists():
            target.rmdir()
        partial.rename(target)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{target}: could not be written ({error.strerror or type(error).__name__})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Export(target, *made)


def _copy(
    study: StudyPath, folder: Path, rules: Rules, secret: Secret, limits: Limits
) -> tuple[int, int, int, tuple[tuple[str, str], ...]]:
    """Write the copies; files, series, unchecked, skipped."""
    series: dict[str, int] = {}
    numbers: dict[str, int] = {}
    unchecked, skipped = 0, []
    with ExitStack() as archives:
        for file in study_files(study, limits, archives):
            try:
                data, uid, gone = _cleaned(file, rules, secret, limits)
            except InputError as error:
                skipped.append((file.name, str(error)))
                continue
            number = series.setdefault(uid, len(series) + 1)
            numbers[uid] = numbers.get(uid, 0) + 1
            place = make_folder(folder / f"series-{number:03d}")
            write_bytes(place / f"{numbers[uid]:05d}.dcm", data)
            unchecked += not gone
    if not series:
        raise InputError(f"{study}: holds no DICOM file that could be copied")
    return sum(numbers.values()), len(series), unchecked, tuple(skipped)


def _cleaned(file: File, rules: Rules, secret: Secret, limits: Limits) -> tuple[bytes, str, bool]:
    """The bytes of a clean copy, its new series UID, and whether the identity is gone."""
    data = file.load()
    if not looks_like_dicom(data):
        raise ImageError(f"{file.name}: not a DICOM file")
    with quiet():
        try:
            dataset = parse(data, file.name, limits)
            if str(dataset.file_meta.get("MediaStorageSOPClassUID") or "") == _DIRECTORY:
                raise ImageError(f"{file.name}: a DICOMDIR, which lists the old files")
            gone = clean(dataset, rules, secret, __version__)
            return _encoded(dataset), str(dataset.get("SeriesInstanceUID") or ""), gone
        except ImageError:
            raise
        except Exception as error:  # pydicom raises nine classes and more; their texts quote the file
            raise ImageError(
                f"{file.name}: could not be understood whole ({type(error).__name__}), so it was not copied"
            ) from None


def _encoded(dataset: Any) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
