"""The scene of one slice: canvas, patient, level, and the landmarks that the parts of the body share.

Level 0 is the arch of the aorta, 0.4 the fork of the windpipe, 0.7 the middle of the heart, 1 the dome of the liver.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medapps.phantom.canvas import Canvas, Field, Shape, ellipse
from medapps.phantom.patient import Patient

__all__ = ["AIR", "FAT", "MUSCLE", "WATER", "Scene", "rib_cage", "smooth_noise"]

FAT, MUSCLE, WATER, AIR = -100.0, 52.0, 8.0, -990.0  # HU


@dataclass(frozen=True)
class Scene:
    """What every painter needs.

    texture: cloudy noise of unit standard deviation, the unevenness of tissue.
    chest: depth inside the rib cage, mm, for every pixel.
    """

    canvas: Canvas
    patient: Patient
    level: float
    rng: np.random.Generator
    texture: Field
    chest: Field

    @property
    def inside(self) -> Field:
        """Share of each pixel that lies inside the rib cage."""
        return self.canvas.cover_of(self.chest)

    @property
    def spine_y(self) -> float:
        """Middle of the vertebral body; the spinous process then ends just under the fat of the back."""
        return self.patient.half_depth - 0.8 * self.patient.fat - 58


def smooth_noise(rng: np.random.Generator, size: int, sigma: float) -> Field:
    """Cloudy noise of unit standard deviation, `sigma` pixels coarse."""
    from scipy import ndimage

    field = ndimage.gaussian_filter(rng.standard_normal((size, size), np.float32), sigma, mode="wrap")
    return np.asarray(field / field.std())


def rib_cage(patient: Patient, level: float) -> Shape:
    """The inside of the rib cage; narrower at the top."""
    narrow = 0.86 + 0.14 * min(level / 0.35, 1.0)
    rx = (patient.half_width - patient.fat - 23) * narrow
    ry = patient.half_depth - 0.8 * patient.fat - 20
    return ellipse(0, -2, rx, ry, square=True)
