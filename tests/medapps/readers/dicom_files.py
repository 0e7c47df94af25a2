"""Small DICOM files made in memory, to hold one property each."""

from __future__ import annotations

import io
from typing import Any

import numpy as np


def dicom(pixels: np.ndarray | None = None, *, syntax: str = "1.2.840.10008.1.2.1", **elements: Any) -> bytes:
    """A CT image of `pixels` (frames,) rows, columns; `elements` are set on top, None removes one."""
    from pydicom.dataset import Dataset, FileMetaDataset

    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    ds.PatientName, ds.PatientID, ds.Modality = "Secret^Person", "SECRET-42", "CT"
    if pixels is not None:
        ds.Rows, ds.Columns = pixels.shape[-2:]
        if pixels.ndim == 3:
            ds.NumberOfFrames = len(pixels)
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
        ds.HighBit = ds.BitsStored - 1
        ds.PixelRepresentation = int(pixels.dtype.kind == "i")
        data = pixels.tobytes()
        ds.PixelData = data + b"\0" * (len(data) % 2)
        ds["PixelData"].VR = "OW" if pixels.dtype.itemsize > 1 else "OB"
    for key, value in elements.items():
        if value is None:
            delattr(ds, key)
        else:
            setattr(ds, key, value)
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def item(**elements: Any) -> Any:
    """A sequence item."""
    from pydicom.dataset import Dataset

    ds = Dataset()
    for key, value in elements.items():
        setattr(ds, key, value)
    return ds
