"""A phantom slice as files: a CT image that any DICOM reader opens, and its label map as a palette PNG."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from medapps.phantom.labels import COLOURS

if TYPE_CHECKING:
    from pydicom.uid import UID

__all__ = ["ct_bytes", "label_bytes"]

_INTERCEPT = -1024
_WINDOW = (60, 700)  # centre and width, HU: fat to contrast agent; lung is black
_LENGTH_MM = 180.0  # from level 0 to level 1


def ct_bytes(hu: NDArray[np.int16], *, patient: str, number: int, level: float, spacing_mm: float, seed: int) -> bytes:
    """A DICOM file (CT Image Storage, Explicit VR Little Endian, 12 bits) of one slice.

    Args:
        hu: (y, x), -1024 to 3071.
        patient: PatientID, such as "PHANTOM-0001".
        number: of the slice, from 1, counted from the head downwards.
        level: along the body, 0 to 1.
        spacing_mm: of the pixels, both ways.
        seed: of the set; with patient and number it fixes the UIDs, so that the same call gives the same bytes.

    Source: DICOM PS3.3, A.3 (CT Image IOD).
    """
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = _uid(seed, patient, "image", number)
    ds.file_meta.ImplementationClassUID = _uid("minidl phantom writer")
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID
    _patient_and_study(ds, patient, seed)
    _place(ds, hu.shape, number, level, spacing_mm)
    _pixels(ds, hu)
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _uid(*parts: object) -> UID:
    """A UID that depends on nothing but `parts` (under 2.25, the arc of 128-bit numbers; PS3.5, B.2)."""
    from pydicom.uid import UID

    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def _patient_and_study(ds: Any, patient: str, seed: int) -> None:
    ds.PatientName, ds.PatientID = f"{patient}^Synthetic", patient
    ds.PatientBirthDate = ds.PatientSex = ds.StudyTime = ds.StudyID = ds.AccessionNumber = ""
    ds.ReferringPhysicianName = ds.Laterality = ds.PositionReferenceIndicator = ""
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = "20000101"  # a phantom has no birthday
    ds.ContentTime = "000000"
    ds.StudyInstanceUID = _uid(seed, patient, "study")
    ds.SeriesInstanceUID = _uid(seed, patient, "series")
    ds.FrameOfReferenceUID = _uid(seed, patient, "frame")
    ds.StudyDescription = "Synthetic chest phantom, not a patient"
    ds.SeriesNumber = ds.AcquisitionNumber = 1
    ds.Modality, ds.BodyPartExamined, ds.PatientPosition = "CT", "CHEST", "HFS"
    ds.Manufacturer = ds.ManufacturerModelName = "minidl phantom"
    ds.ImageComments = "SYNTHETIC"


def _place(ds: Any, shape: tuple[int, ...], number: int, level: float, spacing_mm: float) -> None:
    corner = -(shape[1] - 1) / 2 * spacing_mm, -(shape[0] - 1) / 2 * spacing_mm
    z = -level * _LENGTH_MM
    ds.InstanceNumber = number
    ds.ImagePositionPatient = [f"{v:.6f}" for v in (*corner, z)]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.SliceLocation = f"{z:.6f}"
    ds.PixelSpacing = [f"{spacing_mm:.8f}"] * 2
    ds.SliceThickness, ds.KVP = "5", "120"


def _pixels(ds: Any, hu: NDArray[np.int16]) -> None:
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Rows, ds.Columns = hu.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = str(_INTERCEPT), "1", "HU"
    ds.WindowCenter, ds.WindowWidth = (str(v) for v in _WINDOW)
    ds.PixelData = (hu.astype(np.int32) - _INTERCEPT).astype("<u2").tobytes()


def label_bytes(label: NDArray[np.uint8]) -> bytes:
    """A PNG whose pixel values are the labels; its palette only makes them visible."""
    import PIL.Image

    palette = np.zeros((256, 3), np.uint8)
    for value, colour in COLOURS.items():
        palette[value] = colour
    picture = PIL.Image.fromarray(label)
    picture.putpalette(palette.ravel().tolist())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
