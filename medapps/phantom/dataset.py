"""A folder of phantom patients: DICOM slices, label maps, and a dataset.json that says what is what."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.phantom.anatomy import draw_slice
from medapps.phantom.files import ct_bytes, label_bytes
from medapps.phantom.labels import Label
from medapps.phantom.patient import Patient, draw_patient
from medapps.phantom.place import describe, whole_folder
from medapps.phantom.scanner import scan

__all__ = ["make_dataset", "make_slice"]

_HEALTHY_EACH = 7  # every seventh patient has no tumour


def make_slice(
    patient: Patient, level: float, *, seed: int, size: int = 256
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """HU (y, x) and label map of one slice of a patient, as the scanner sees it.

    The field of view fits the patient; a pixel is `field_mm(patient) / size` wide.
    """
    rng = np.random.default_rng([patient.seed, seed])
    canvas = draw_slice(patient, level, rng, size, field_mm(patient) / size)
    return scan(canvas, patient, level, rng), canvas.label


def field_mm(patient: Patient) -> float:
    """Side of the square that is reconstructed."""
    return round(2.14 * patient.half_width, 1)


def make_dataset(
    folder: str | os.PathLike[str],
    *,
    patients: int = 40,
    slices_per_patient: int = 3,
    seed: int = 0,
    size: int = 256,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a synthetic chest CT data set: `images/*.dcm`, `labels/*.png`, `dataset.json`.

    About 60, 15 and 25 % of the patients are for training, validation and test. The same arguments give the same
    bytes. The folder appears when it is complete, or not at all.

    Args:
        folder: must not exist, or be empty, or be an earlier phantom folder with `overwrite`.
        patients: at least 3.
        slices_per_patient: evenly spaced from the arch of the aorta to the liver.
        seed: of everything drawn.
        size: side of a slice, in pixels, at least 64.
        progress: called with (slices done, slices in all).

    Returns:
        The folder.

    Raises:
        InputError: for arguments out of range, or a folder that holds something else.
        OutputError: if it cannot be written.
    """
    if patients < 3 or slices_per_patient < 1 or not 64 <= size <= 1024:
        raise InputError(
            f"make_dataset: needs 3 patients, 1 slice and a size of 64 to 1024 at least, "
            f"got {patients}, {slices_per_patient} and {size}"
        )
    target = Path(folder)
    with whole_folder(target, "phantom", overwrite=overwrite) as partial:
        for name in ("images", "labels"):
            (partial / name).mkdir()
        images = _write_patients(partial, patients, slices_per_patient, seed, size, progress)
        facts = {
            "seed": seed,
            "patients": patients,
            "slices_per_patient": slices_per_patient,
            "labels": {str(int(label)): label.name.lower() for label in Label},
            "images": images,
        }
        describe(partial, "phantom", facts)
    return target


def _write_patients(
    folder: Path, patients: int, slices: int, seed: int, size: int, progress: Callable[[int, int], None] | None
) -> list[dict[str, object]]:
    images: list[dict[str, object]] = []
    for i, split in enumerate(_splits(patients, seed)):
        rng = np.random.default_rng([seed, i])
        patient = draw_patient(rng, tumour=i % _HEALTHY_EACH != _HEALTHY_EACH - 1)
        identity = f"PHANTOM-{i + 1:04d}"
        for number in range(1, slices + 1):
            level = 0.1 + 0.8 * (number - 0.5) / slices + rng.uniform(-0.04, 0.04)
            hu, label = make_slice(patient, level, seed=number, size=size)
            spacing = field_mm(patient) / size
            data = ct_bytes(hu, patient=identity, number=number, level=level, spacing_mm=spacing, seed=seed)
            image, labels = f"images/{identity}_{number}.dcm", f"labels/{identity}_{number}.png"
            (folder / image).write_bytes(data)
            (folder / labels).write_bytes(label_bytes(label))
            images.append(
                {"image": image, "label": labels, "patient": identity, "split": split, "level": round(level, 4)}
            )
            if progress is not None:
                progress(len(images), patients * slices)
    return images


def _splits(patients: int, seed: int) -> list[str]:
    """The split of each patient; the first three, who have tumours, go to one each."""
    test, val = max(round(0.25 * patients), 1), max(round(0.15 * patients), 1)
    rest = ["test"] * (test - 1) + ["val"] * (val - 1) + ["train"] * (patients - test - val - 1)
    order = np.random.default_rng([seed, 2**31]).permutation(len(rest))
    return ["train", "val", "test", *(rest[i] for i in order)]
