"""A label map as DICOM SEG (binary, one frame for each slice and segment that is not empty), through highdicom."""

from __future__ import annotations

import io
from contextlib import ExitStack
from typing import Any

import numpy as np

from medapps.errors import InputError
from medapps.image import Image
from medapps.readers.dicom_parse import quiet
from medapps.readers.grid import NEAR, on_grid
from medapps.readers.limits import DEFAULT_LIMITS
from medapps.readers.stack import Slice
from medapps.readers.study import DicomFile, StudyPath, group, header_of
from medapps.writers.codes import coded
from medapps.writers.colours import colour
from medapps.writers.job import Job

__all__ = ["RESEARCH", "seg_bytes"]

RESEARCH = "Research only; not a medical device; not for diagnosis"  # LO holds 64 characters

# Type 2 elements of the patient and study modules: they may be empty, but highdicom wants them to be there.
_MAY_BE_EMPTY = (
    "AccessionNumber", "PatientBirthDate", "PatientID", "PatientName", "PatientSex", "ReferringPhysicianName",
    "StudyDate", "StudyID", "StudyTime",
)  # fmt: skip


def seg_bytes(job: Job) -> bytes:
    """A segmentation that refers to the slices of `job.source` and lies in their frame of reference.

    Raises:
        InputError: without a source, or if none of its series lies where the image lies.
    """
    import highdicom as hd

    if job.source is None:
        raise InputError("write_mask: DICOM SEG needs source=, the DICOM files of the series (or their folder)")
    with quiet():
        datasets, frames = _source(job, job.source)
        try:
            made = hd.seg.Segmentation(
                datasets,
                job.mask[frames],
                hd.seg.SegmentationTypeValues.BINARY,
                [_segment(job, label) for label in range(1, len(job.classes))],
                series_instance_uid=hd.UID(),
                series_number=1000,
                sop_instance_uid=hd.UID(),
                instance_number=1,
                manufacturer="minidl",
                manufacturer_model_name="medapps",
                software_versions=job.algorithm.version,
                device_serial_number="none",
                content_description=RESEARCH,
                content_label="SEGMENTATION",
                omit_empty_frames=True,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # what highdicom misses in the source
            raise InputError(
                f"write_mask: the source files lack what a DICOM SEG must take from them ({type(error).__name__}); "
                "write NIfTI, or export the series again"
            ) from None
        made.SeriesDescription = f"Segmentation by {job.algorithm.name}"[:64]
        buffer = io.BytesIO()
        made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _source(job: Job, source: StudyPath) -> tuple[list[Any], list[int]]:
    """Headers of the series that lies where the image lies, and for each of its frames the slice of the mask."""
    with ExitStack() as archives:
        for files in group(source, DEFAULT_LIMITS, archives).values():
            frames = [_slice_of(s, job.image) for file in files for s in file.slices]
            if sorted(frames) == list(range(job.image.shape[1])):
                return [_complete(file) for file in files if file.slices], frames
    raise InputError(
        "write_mask: source holds no series that lies where the image lies; give the files it was read from"
    )


def _slice_of(frame: Slice, image: Image) -> int:
    """Which slice of the image a frame is, voxel for voxel; -1 for none."""
    found = on_grid(frame.plane, image)
    if found is None or (frame.rows, frame.columns) != image.shape[2:]:
        return -1
    z = int(np.rint(found.start[2]))
    ends = (frame.columns - 1) * (found.right - (1, 0, 0)), (frame.rows - 1) * (found.down - (0, 1, 0))
    corners = [found.start - (0, 0, z) + a * ends[0] + b * ends[1] for a in (0, 1) for b in (0, 1)]
    return z if np.abs(corners).max() <= NEAR else -1


def _complete(file: DicomFile) -> Any:
    dataset = header_of(file.file, DEFAULT_LIMITS)
    for keyword in _MAY_BE_EMPTY:
        if keyword not in dataset:
            setattr(dataset, keyword, "")
    return dataset


def _segment(job: Job, label: int) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    category, kind = coded(job.classes[label])
    parameters = {"notice": RESEARCH}
    if job.algorithm.model_sha256:
        parameters["model sha-256"] = job.algorithm.model_sha256
    algorithm = hd.AlgorithmIdentificationSequence(
        job.algorithm.name, codes.cid7162.ArtificialIntelligence, job.algorithm.version, parameters=parameters
    )
    return hd.seg.SegmentDescription(
        label,
        job.classes[label][:64],
        category,
        kind,
        hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm,
        display_color=hd.color.CIELabColor.from_rgb(*colour(label)),
    )
