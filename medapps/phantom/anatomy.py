"""One axial slice of a chest, painted from the outside in.

Not an image of anybody: sizes and places are round numbers from anatomy books, moved about per patient.
"""

from __future__ import annotations

import numpy as np

from medapps.phantom.canvas import Canvas
from medapps.phantom.labels import Label
from medapps.phantom.organs import (
    paint_abdomen,
    paint_airways,
    paint_great_vessels,
    paint_heart,
    paint_mediastinum,
    paint_tumour,
)
from medapps.phantom.patient import Patient
from medapps.phantom.scene import Scene, rib_cage, smooth_noise
from medapps.phantom.vessels import paint_lung_vessels
from medapps.phantom.wall import paint_lungs, paint_ribs, paint_spine, paint_table, paint_wall

__all__ = ["draw_slice"]


def draw_slice(patient: Patient, level: float, rng: np.random.Generator, size: int, spacing_mm: float) -> Canvas:
    """HU and labels of one slice, before the scanner: no noise, no blur.

    Args:
        level: along the body, 0 (arch of the aorta) to 1 (dome of the liver).
        size: side of the slice, in pixels.
        spacing_mm: side of a pixel.
    """
    canvas = Canvas(size, spacing_mm)
    paint_table(canvas, patient)
    canvas.lie_down(patient.turn, patient.shift)
    chest = rib_cage(patient, level)(canvas.x, canvas.y)
    scene = Scene(canvas, patient, level, rng, smooth_noise(rng, size, 2.2), chest)
    paint_wall(scene)
    lungs = paint_lungs(scene)
    paint_spine(scene)
    paint_ribs(scene)
    paint_mediastinum(scene)
    paint_heart(scene)
    paint_great_vessels(scene)
    paint_airways(scene)
    paint_abdomen(scene, lungs)
    lungs = lungs * (canvas.label == Label.LUNG)  # what the mediastinum and the abdomen left of them
    paint_lung_vessels(scene, lungs)
    paint_tumour(scene, lungs)
    return canvas
