"""DICOM series made in memory: oblique, reversed, tilted, incomplete; each with a known place for every voxel."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

# Rotations whose columns are the x, y and z axes of the grid, in LPS.
PLANES = {
    "axial": np.eye(3),
    "sagittal": np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]], float),
    "coronal": np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float),
    "oblique": Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix(),
}
SPACING = (2.5, 1.25, 0.75)  # z, y, x
ORIGIN = (-30.5, 12.25, 99.0)


def volume(shape=(6, 7, 9), seed=0) -> np.ndarray:
    """Stored values, all different, (z, y, x)."""
    return np.random.default_rng(seed).permutation(int(np.prod(shape))).reshape(shape).astype(np.uint16)


def series(
    voxels: np.ndarray | None = None,
    *,
    axes: np.ndarray = PLANES["axial"],
    spacing: tuple[float, float, float] = SPACING,
    uid: str = "1.2.826.0.1.7",
    shear: tuple[float, float] = (0.0, 0.0),
    heights: list[float] | None = None,
    **elements: Any,
) -> list[Any]:
    """CT data sets, one per slice; `shear` moves slices sideways (mm per slice), `heights` places them along z."""
    voxels = volume() if voxels is None else voxels
    made = []
    for z, pixels in enumerate(voxels):
        height = z * spacing[0] if heights is None else heights[z]
        place = np.asarray(ORIGIN) + axes @ (z * shear[0], z * shear[1], height)
        made.append(_slice(pixels, z, place, axes, spacing, uid))
        for key, value in elements.items():
            setattr(made[-1], key, value)
    return made


def _slice(pixels: np.ndarray, z: int, place: np.ndarray, axes: np.ndarray, spacing: Any, uid: str) -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset

    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{z + 1}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = f"{uid}.100", f"{uid}.200", f"{uid}.300"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Secret^Person", "SECRET-42", "19500203", "F"
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20210304", "101112", "SID7", "ACC77"
    ds.ReferringPhysicianName, ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "Doctor^Who", "CT", 3, z + 1
    ds.Manufacturer, ds.PositionReferenceIndicator = "Maker", ""
    ds.ImagePositionPatient = [f"{v:.6f}" for v in place]
    ds.ImageOrientationPatient = [f"{v:.8f}" for v in (*axes[:, 0], *axes[:, 1])]
    ds.PixelSpacing = [str(spacing[1]), str(spacing[2])]
    ds.SliceThickness = str(spacing[0])
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = "2", "-1024", "HU"
    ds.PixelData = pixels.astype("<u2").tobytes()
    return ds


def encoded(ds: Any) -> bytes:
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def write(folder: Path, datasets: list[Any], *, order: list[int] | None = None) -> Path:
    """Files named in `order`, which need not be the order of the slices."""
    folder.mkdir(exist_ok=True)
    for name, index in enumerate(order or range(len(datasets))):
        (folder / f"{name:03d}_{datasets[index].SeriesInstanceUID[-7:]}.dcm").write_bytes(encoded(datasets[index]))
    return folder
