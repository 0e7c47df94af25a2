"""The frame of the chest, painted from the outside in: table, skin, fat, muscle, lungs, spine, ribs."""

from __future__ import annotations

import numpy as np

from medapps.phantom.canvas import Canvas, Depth, Field, blob, capsule, ellipse
from medapps.phantom.labels import Label
from medapps.phantom.patient import Patient
from medapps.phantom.scene import FAT, MUSCLE, WATER, Scene, rib_cage, smooth_noise

__all__ = ["paint_lungs", "paint_ribs", "paint_spine", "paint_table", "paint_wall"]


def paint_table(canvas: Canvas, patient: Patient) -> None:
    """The curved table under the back; paint it before the patient lies down on it."""
    top = patient.half_depth + patient.shift[1] + 4
    curve = np.asarray(top + 2 + 20 * (canvas.x / 230) ** 2, np.float32)
    canvas.paint(1.6 - np.abs(canvas.y - curve), -450.0, Label.AIR)
    canvas.paint(1.2 - np.abs(canvas.y - curve - 22), -600.0, Label.AIR)


def paint_wall(scene: Scene) -> None:
    """Skin, fat, muscle with fat between its layers, and in the upper slices the shoulder blades."""
    canvas, patient = scene.canvas, scene.patient
    w, d, fat, bone = patient.half_width, patient.half_depth, patient.fat, patient.bone
    body = ellipse(0, 0, w, d, square=True)(canvas.x, canvas.y)
    flesh = body - 2 - 0.88 * fat
    canvas.paint(body, 30.0, Label.BODY)
    canvas.paint(body - 2, FAT + 7 * scene.texture, Label.BODY)
    canvas.paint(flesh, MUSCLE + 7 * scene.texture, Label.BODY)
    muscle = canvas.cover_of(flesh)
    for side in (-1, 1):
        for deep, high in ((7.0, 27.0), (13.0, 0.0)):
            where = ellipse(side * 60, high, w * 0.62, d * 0.8)(canvas.x, canvas.y)
            canvas.paint(np.minimum(1.1 - np.abs(flesh - deep), where), FAT, None, within=muscle)
    if scene.level < 0.45:
        for side in (-1, 1):
            x0, y0, x1, y1 = side * (w - fat - 30), d * 0.15, side * w * 0.52, d * 0.68
            canvas.paint(capsule(x0, y0, x1, y1, 4.6, 3.0), 560 * bone, Label.BONE, within=muscle)
            canvas.paint(capsule(x0, y0, x1, y1, 2.4, 1.0), 240 * bone, Label.BONE, within=muscle)


def paint_lungs(scene: Scene) -> Field:
    """Both lungs, with fissures and perhaps fluid; gives their share of each pixel."""
    canvas, patient, level = scene.canvas, scene.patient, scene.level
    gravity = 45 * canvas.y / patient.half_depth  # the back of a lying patient is better filled
    hu = patient.lung_hu + gravity + 16 * scene.texture + 10 * smooth_noise(scene.rng, canvas.size, 0.9)
    canvas.paint(scene.chest + 3, FAT + 40, Label.BODY)  # pleura and the fat outside of it
    canvas.paint(scene.chest, hu, Label.LUNG)
    lungs = scene.inside
    fissure = np.abs(canvas.y + 35 - 95 * (level - 0.3) - 0.22 * np.abs(canvas.x))
    canvas.paint(np.minimum(0.5 - fissure, np.abs(canvas.x) - 38), patient.lung_hu + 230, None, within=0.6 * lungs)
    if patient.effusion > 0 and level > 0.4:
        surface = patient.effusion * (level - 0.2) - scene.chest  # a crescent along the right back wall
        fluid = np.minimum(0.9 * surface, np.minimum(-canvas.x - 14, canvas.y - 12))
        canvas.paint(fluid, WATER + 5 * scene.texture, Label.BODY, within=lungs)
        lungs = lungs * (canvas.label == Label.LUNG)
    return lungs


def paint_spine(scene: Scene) -> None:
    """A vertebra: body, arch, spinous and transverse processes, the canal, and the muscles beside it."""
    canvas, y, b = scene.canvas, scene.spine_y, scene.patient.bone
    marrow = 150 * b + 35 * smooth_noise(scene.rng, canvas.size, 1.0)
    bumps = np.array([[2, 0.03, 0.4], [3, 0.05, 1.57], [5, 0.02, 0.3]])
    canvas.paint(ellipse(0, y + 12, 36, 34, square=True), MUSCLE, Label.BODY)
    for side in (-1, 1):  # transverse processes and the muscles beside the spinous process
        canvas.paint(ellipse(side * 24, y + 38, 20, 14, side * 0.3), MUSCLE, Label.BODY)
        canvas.paint(capsule(side * 12, y + 17, side * 34, y + 25, 5.0, 3.5), 480 * b, Label.BONE)
        canvas.paint(capsule(side * 12, y + 17, side * 34, y + 25, 2.8, 1.6), 210 * b, Label.BONE)
    canvas.paint(blob(0, y, 18.5, 14.5, 0.0, bumps), 520 * b, Label.BONE)
    canvas.paint(blob(0, y, 16.6, 12.6, 0.0, bumps), marrow, Label.BONE)
    canvas.paint(ellipse(0, y + 22, 13.5, 11.5), 560 * b, Label.BONE)
    canvas.paint(capsule(0, y + 30, 0, y + 50, 4.5, 3.0), 520 * b, Label.BONE)
    canvas.paint(capsule(0, y + 32, 0, y + 48, 2.4, 1.2), 230 * b, Label.BONE)
    canvas.paint(ellipse(0, y + 20.5, 9.0, 7.5), -30.0, Label.BODY)  # canal: fat around
    canvas.paint(ellipse(0, y + 20.5, 6.4, 5.2), 30.0, Label.BODY)  # the cord


def paint_ribs(scene: Scene) -> None:
    """Oblique cuts through six ribs on each side, cartilage in front, and the breastbone."""
    canvas, patient, level, rng = scene.canvas, scene.patient, scene.level, scene.rng
    b, cage = patient.bone, rib_cage(patient, level)
    angles = np.linspace(-np.pi / 2 + 0.42, np.pi / 2 - 0.42, 6) + 0.1 * np.sin(9 * level)
    for side in (-1, 1):
        for angle in angles + rng.normal(0, 0.05, len(angles)):
            direction = np.array([side * np.cos(angle), np.sin(angle)])
            reach = _edge(cage, direction) + 7
            x, y = direction * reach
            tilt = np.arctan2(y / patient.half_depth**2, x / patient.half_width**2) + np.pi / 2
            long, thick = rng.uniform(7, 15), rng.uniform(3.6, 4.6)
            front = angle < -0.85  # cartilage near the breastbone
            canvas.paint(ellipse(x, y, long, thick, tilt), 130.0 if front else 540 * b, Label.BONE)
            if not front:
                canvas.paint(ellipse(x, y, long - 1.8, thick - 1.7, tilt), 190 * b, Label.BONE)
    y = -_edge(cage, np.array([0.0, -1.0])) - 9
    canvas.paint(ellipse(0, y, 20, 6.5, square=True), 430 * b, Label.BONE)
    canvas.paint(ellipse(0, y, 18, 4.6, square=True), 120 * b, Label.BONE)


def _edge(depth: Depth, direction: Field) -> float:
    """Distance from the origin to the edge of a shape."""
    steps = np.linspace(0, 200, 401)
    inside = depth(steps * direction[0], steps * direction[1])
    return float(steps[np.argmax(inside < 0)])
