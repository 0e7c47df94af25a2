"""A label map as DICOM SEG (binary, one frame for each slice and segment that is not empty), through highdicom."""

from __future__ import annotations

import io
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.readers.dicom_parse import quiet
from medapps.readers.limits import DEFAULT_LIMITS
from medapps.readers.stack import Stack, judge
from medapps.readers.study import DicomFile, StudyPath, group, header_of
from medapps.writers.codes import coded
from medapps.writers.colours import colour
from medapps.writers.job import Job

__all__ = ["RESEARCH", "seg_bytes"]

RESEARCH = "Research only; not a medical device; not for diagnosis"  # LO holds 64 characters

_SAME_MM = 0.01  # slices of `source` may lie this far from those of the image
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


def _source(job: Job, source: StudyPath) -> tuple[list[Any], NDArray[np.intp]]:
    """Headers of the series that lies where the image lies, and for each of its frames the slice of the mask."""
    with ExitStack() as archives:
        for files in group(source, DEFAULT_LIMITS, archives).values():
            slices = [s for file in files for s in file.slices]
            found = judge(slices) if slices else None
            size = {(len(slices), s.rows, s.columns) for s in slices}
            if isinstance(found, Stack) and size == {job.image.shape[1:]} and _same_place(found, job):
                frames = np.empty(len(slices), np.intp)
                frames[list(found.order)] = np.arange(len(slices))
                return [_complete(file) for file in files if file.slices], frames
    raise InputError(
        "write_mask: source holds no series that lies where the image lies; give the files it was read from"
    )


def _same_place(stack: Stack, job: Job) -> bool:
    image = job.image
    if stack.origin_mm is None or image.origin_mm is None or stack.direction is None or image.direction is None:
        return False
    z, y, x = image.shape[1:]
    extent = np.array([z, y, x])
    steps = [np.array([s or 0.0 for s in spacing or ()]) for spacing in (stack.spacing_mm, image.spacing_mm)]
    corners = [
        np.asarray(origin) + np.asarray(direction) @ (step * extent)[::-1]
        for origin, direction, step in zip(
            (stack.origin_mm, image.origin_mm), (stack.direction, image.direction), steps, strict=True
        )
        if len(step) == 3
    ]
    near = np.abs(np.subtract(stack.origin_mm, image.origin_mm)).max() <= _SAME_MM
    return bool(near and len(corners) == 2 and np.abs(corners[0] - corners[1]).max() <= _SAME_MM * max(extent))


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
