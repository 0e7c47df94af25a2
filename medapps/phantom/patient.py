"""The person behind a phantom: sizes, contrast agent, disease. Drawn once, so that slices of a patient agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Patient", "Tumour", "draw_patient"]

Site = Literal["right lung", "left lung", "mediastinum"]


@dataclass(frozen=True)
class Tumour:
    """A mass: where, how large, how ragged. `level` and `reach` are along the body, 0 (aortic arch) to 1 (liver)."""

    site: Site
    level: float
    reach: float
    radius_mm: float
    place: tuple[float, float]  # within the site, each 0 to 1
    hu: float
    uptake: float  # share of the blood's enhancement
    necrosis: float  # share of the radius that is dead and darker
    waves: NDArray[np.float64]
    spicules: int


@dataclass(frozen=True)
class Patient:
    """Anatomy and state of one person; lengths in mm."""

    half_width: float  # of the body, fat included
    half_depth: float
    fat: float
    turn: float  # radians
    shift: tuple[float, float]
    heart: float  # relative size
    heart_angle: float
    aorta: float  # relative size
    enhancement: float  # HU that contrast agent adds to blood; 0 without
    lung_hu: float
    effusion: float  # depth of fluid behind the right lung; 0 for none
    bone: float  # relative density
    noise_hu: float
    clip: bool  # a surgical clip, which throws streaks
    tumour: Tumour | None
    seed: int  # of what differs between slices


def draw_patient(rng: np.random.Generator, *, tumour: bool = True) -> Patient:
    """A random adult; 4 in 5 have contrast agent."""
    fat = rng.uniform(6, 26)
    return Patient(
        half_width=rng.uniform(136, 156) + fat,
        half_depth=rng.uniform(96, 110) + 0.8 * fat,
        fat=fat,
        turn=rng.normal(0, 0.03),
        shift=(rng.normal(0, 4), rng.normal(0, 3)),
        heart=rng.uniform(0.88, 1.2),
        heart_angle=rng.uniform(-0.85, -0.55),
        aorta=rng.uniform(0.85, 1.25),
        enhancement=rng.uniform(60, 230) if rng.random() < 0.8 else 0.0,
        lung_hu=rng.uniform(-885, -800),
        effusion=rng.uniform(5, 16) if rng.random() < 0.25 else 0.0,
        bone=rng.uniform(0.75, 1.15),
        noise_hu=rng.uniform(9, 24),
        clip=bool(rng.random() < 0.12),
        tumour=_draw_tumour(rng) if tumour else None,
        seed=int(rng.integers(2**31)),
    )


def _draw_tumour(rng: np.random.Generator) -> Tumour:
    sites: tuple[Site, ...] = ("right lung", "left lung", "mediastinum")
    site = sites[int(rng.choice(3, p=(0.4, 0.35, 0.25)))]
    counts = np.arange(2, 12)
    heights = rng.normal(0, 0.22, len(counts)) / counts**0.75
    return Tumour(
        site=site,
        level=rng.uniform(0.25, 0.75),
        reach=rng.uniform(0.35, 0.55),
        radius_mm=rng.uniform(9, 24),
        place=(rng.random(), rng.random()),
        hu=rng.uniform(25, 60),
        uptake=rng.uniform(0.1, 0.45),
        necrosis=rng.uniform(0.35, 0.6) if rng.random() < 0.4 else 0.0,
        waves=np.stack([counts, heights, rng.uniform(0, 2 * np.pi, len(counts))], axis=1),
        spicules=int(rng.integers(8, 22)) if site != "mediastinum" else 0,
    )
