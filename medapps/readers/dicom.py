"""One DICOM file to one Image: physical values, geometry, and how they want to be shown."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.errors import ImageError
from medapps.image import Image
from medapps.readers.dicom_geometry import Geometry, geometry
from medapps.readers.dicom_parse import parse, quiet
from medapps.readers.dicom_pixels import GREY, Header, read_header, stored_pixels, uid_name
from medapps.readers.dicom_values import display, modality_of, modality_values, replace_padding
from medapps.readers.limits import DEFAULT_LIMITS, Limits

__all__ = ["patient_key", "read_dicom"]


def read_dicom(data: bytes, name: str, *, limits: Limits = DEFAULT_LIMITS) -> Image:
    """Read one DICOM image; several frames become z.

    Grey values are physical: rescale or Modality LUT applied, CT in HU. Window, VOI LUT and MONOCHROME1 do not touch
    them but are kept in `Image.display`. Padding pixels get the darkest real value (`meta["padding_pixels"]` counts
    them). Colour of every kind becomes RGB.

    Args:
        data: the whole file.
        name: what the messages call it.
        limits: checked against what the header claims, before anything is decoded.

    Raises:
        ImageError: one sentence that never quotes a value of the file.
    """
    with quiet():
        try:
            return _read(parse(data, name, limits), name, limits)
        except ImageError:
            raise
        except Exception as error:  # pydicom raises nine classes and more on damaged files; their texts quote the file
            raise ImageError(
                f"{name}: a damaged DICOM file, reading it stopped with {type(error).__name__}; copy or export it again"
            ) from None


def patient_key(data: bytes, name: str, *, limits: Limits = DEFAULT_LIMITS) -> str | None:
    """A pseudonym that is equal for files of one patient, or None when the file names none.

    It is a hash of PatientID: good for keeping a patient's images in one split, not an anonymisation.
    """
    with quiet():
        try:
            patient = str(parse(data, name, limits).get("PatientID") or "").strip()
        except ImageError:
            raise
        except Exception as error:
            raise ImageError(f"{name}: a damaged DICOM file ({type(error).__name__}); export it again") from None
    return "patient-" + hashlib.sha256(patient.encode()).hexdigest()[:12] if patient else None


def _read(dataset: Any, name: str, limits: Limits) -> Image:
    header = read_header(dataset, name, limits)
    stored = stored_pixels(dataset, header, name, limits)
    place = geometry(dataset, header.frames)
    meta = _meta(dataset, header, place)
    shown = display(dataset, header.photometric, header.bits_stored, stored.dtype)
    if header.photometric in GREY:
        values, unit = modality_values(stored, dataset)
        values, padded = replace_padding(values, stored, dataset, inverted=shown.inverted)
        meta |= {"unit": unit} if unit else {}
        meta |= {"padding_pixels": str(padded)} if padded else {}
        array: NDArray[Any] = values[None]
    else:
        array = np.moveaxis(stored, -1, 0)
    return Image(
        np.ascontiguousarray(array),
        place.spacing_mm,
        place.origin_mm,
        place.direction,
        modality_of(dataset),
        meta,
        shown,
    )


def _meta(dataset: Any, header: Header, place: Geometry) -> dict[str, str]:
    """Technical facts only, each from a closed vocabulary: nothing typed by a person gets through."""
    facts = {
        "format": "DICOM",
        "kind": uid_name(dataset.get("SOPClassUID")),
        "transfer_syntax": uid_name(header.syntax),
        "photometric": header.photometric,
        "bits_stored": str(header.bits_stored),
        "geometry": place.note,
    }
    return {key: value for key, value in facts.items() if value}
