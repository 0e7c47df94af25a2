"""Three types of phantom lungs: healthy, with solid nodules, with cavities. Synthetic, as everything in this package.

A patient has one type, and lesions that grow through some slices and not through others, so that one image may not
show what the patient has: the decision needs all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.phantom.anatomy import draw_slice
from medapps.phantom.canvas import Canvas, blob
from medapps.phantom.files import ct_bytes
from medapps.phantom.labels import Label
from medapps.phantom.patient import Patient, draw_patient
from medapps.phantom.place import describe, whole_folder
from medapps.phantom.scanner import scan

__all__ = ["DISEASES", "Lesion", "draw_lesions", "make_disease_dataset", "make_disease_slice"]

DISEASES = ("healthy", "nodule", "cavity")
_KIND = "phantom diseases"
_AIR_HU = -900.0


@dataclass(frozen=True)
class Lesion:
    """A round change in a lung; lengths in mm, `level` and `reach` along the body as in `Patient`.

    hollow: share of the radius that holds air; 0 for a solid nodule.
    """

    x: float
    y: float
    radius: float
    level: float
    reach: float
    hu: float
    hollow: float
    waves: NDArray[np.float64]


def draw_lesions(rng: np.random.Generator, patient: Patient, disease: str) -> tuple[Lesion, ...]:
    """Three to five lesions of one type; none for "healthy"."""
    if disease == "healthy":
        return ()
    return tuple(_draw_lesion(rng, patient, disease) for _ in range(int(rng.integers(3, 6))))


def _draw_lesion(rng: np.random.Generator, patient: Patient, disease: str) -> Lesion:
    side = rng.choice((-1.0, 1.0))
    counts = np.arange(2, 7)
    waves = np.stack([counts, rng.normal(0, 0.12, 5) / counts**0.5, rng.uniform(0, 2 * np.pi, 5)], axis=1)
    return Lesion(
        x=side * rng.uniform(56, patient.half_width * 0.66),
        y=rng.uniform(-0.4, 0.4) * patient.half_depth,
        radius=rng.uniform(12, 21),
        level=rng.uniform(0.2, 0.8),
        reach=rng.uniform(0.3, 0.55),
        hu=rng.uniform(20, 70),
        hollow=rng.uniform(0.5, 0.7) if disease == "cavity" else 0.0,
        waves=waves,
    )


def make_disease_slice(
    patient: Patient, lesions: tuple[Lesion, ...], level: float, *, seed: int, size: int = 96
) -> NDArray[np.int16]:
    """HU (y, x) of one slice of a patient with these lesions, as the scanner sees it."""
    rng = np.random.default_rng([patient.seed, seed])
    canvas = draw_slice(patient, level, rng, size, lung_field_mm(patient) / size)
    lungs = np.isin(canvas.label, (Label.LUNG, Label.VESSEL)).astype(np.float32)
    for lesion in lesions:
        _paint(canvas, lesion, level, lungs)
    return scan(canvas, patient, level, rng)


def lung_field_mm(patient: Patient) -> float:
    """Side of the square that is reconstructed: the lungs, and not all of the wall beside them."""
    return round(1.75 * patient.half_width, 1)


def _paint(canvas: Canvas, lesion: Lesion, level: float, lungs: NDArray[np.float32]) -> None:
    share = 1 - ((level - lesion.level) / lesion.reach) ** 2
    radius = lesion.radius * float(np.sqrt(max(share, 0.0)))
    if radius < 3:
        return
    canvas.paint(
        blob(lesion.x, lesion.y, radius, 0.85 * radius, 0.0, lesion.waves), lesion.hu, Label.TUMOUR, within=lungs
    )
    if lesion.hollow:
        inner = radius * lesion.hollow
        canvas.paint(blob(lesion.x, lesion.y, inner, 0.85 * inner, 0.0, lesion.waves), _AIR_HU, Label.AIR, within=lungs)


def make_disease_dataset(
    folder: str | os.PathLike[str],
    *,
    patients: int = 180,
    images_per_patient: int = 2,
    seed: int = 0,
    size: int = 96,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write synthetic CT slices as class folders by patient: `healthy/PHANTOM-0001/1.dcm`, ..., and dataset.json.

    Each type has a third of the patients. The same arguments give the same bytes. The folder appears when it is
    complete, or not at all.

    Args:
        folder: must not exist, or be empty, or be an earlier folder of this kind with `overwrite`.
        patients: at least 9, so that a split by patient finds each type on every side.
        images_per_patient: slices from the aortic arch to the heart.
        seed: of everything drawn.
        size: side of a slice, in pixels, 48 to 512.
        progress: called with (slices done, slices in all).

    Returns:
        The folder.

    Raises:
        InputError: for arguments out of range, or a folder that holds something else.
        OutputError: if it cannot be written.
    """
    if patients < 9 or images_per_patient < 1 or not 48 <= size <= 512:
        raise InputError(
            f"make_disease_dataset: needs 9 patients and 1 image of each at least, and a size of 48 to 512, "
            f"got {patients}, {images_per_patient} and {size}"
        )
    target = Path(folder)
    with whole_folder(target, _KIND, overwrite=overwrite) as partial:
        for i in range(patients):
            _write_patient(partial, i, images_per_patient, seed, size)
            if progress is not None:
                progress((i + 1) * images_per_patient, patients * images_per_patient)
        facts = {"seed": seed, "patients": patients, "images_per_patient": images_per_patient}
        describe(partial, _KIND, {"diseases": list(DISEASES), **facts})
    return target


def _write_patient(folder: Path, i: int, images: int, seed: int, size: int) -> None:
    rng = np.random.default_rng([seed, i, 1])
    disease, identity = DISEASES[i % len(DISEASES)], f"PHANTOM-{i + 1:04d}"
    patient = draw_patient(rng, tumour=False)
    lesions = draw_lesions(rng, patient, disease)
    place = folder / disease / identity
    place.mkdir(parents=True)
    for number in range(1, images + 1):
        level = 0.15 + 0.6 * (number - 0.5) / images + rng.uniform(-0.05, 0.05)
        hu = make_disease_slice(patient, lesions, level, seed=number, size=size)
        spacing = lung_field_mm(patient) / size
        data = ct_bytes(hu, patient=identity, number=number, level=level, spacing_mm=spacing, seed=seed)
        (place / f"{number}.dcm").write_bytes(data)
