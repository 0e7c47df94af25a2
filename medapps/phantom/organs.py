"""What lies inside the rib cage besides lung: mediastinum, heart, great vessels, airways, abdomen, tumour."""

from __future__ import annotations

import numpy as np

from medapps.phantom.canvas import Field, Shape, blob, capsule, ellipse
from medapps.phantom.labels import Label
from medapps.phantom.scene import AIR, FAT, Scene

__all__ = [
    "paint_abdomen",
    "paint_airways",
    "paint_great_vessels",
    "paint_heart",
    "paint_mediastinum",
    "paint_tumour",
]


def paint_mediastinum(scene: Scene) -> None:
    """The fat between the lungs, from the breastbone to the spine."""
    canvas, patient, level = scene.canvas, scene.patient, scene.level
    fat, front = FAT + 12 + 9 * scene.texture, -patient.half_depth * 0.62
    inside = canvas.cover_of(scene.chest + 2)
    width = 34 - 10 * min(level, 0.5)
    canvas.paint(ellipse(2, 8, width, 52, square=True), fat, Label.BODY, within=inside)
    canvas.paint(capsule(0, front, 0, 10, 11 + 10 * max(0.2 - level, 0), 24), fat, Label.BODY, within=inside)
    for side, y in ((-1, 12), (1, 10)):  # the roots of the lungs
        if 0.2 < level < 0.75:
            canvas.paint(ellipse(side * 32, y, 13, 17), fat + 40, Label.BODY, within=inside)


def paint_heart(scene: Scene) -> None:
    """Fat around it, muscle, and four chambers; from level 0.4 downwards."""
    canvas, patient, level, texture = scene.canvas, scene.patient, scene.level, scene.texture
    grown = np.sqrt(max(1 - ((level - 0.74) / 0.36) ** 2, 0.0))
    if grown < 0.25:
        return
    scale, angle = patient.heart * grown, patient.heart_angle
    c, s = np.cos(angle), np.sin(angle)
    x0, y0 = 20 * patient.heart, -0.21 * patient.half_depth
    inside = scene.inside
    bumps = np.array([[2, 0.03, 0.5], [3, 0.04, 1.0], [4, 0.02, 2.0]])

    def at(u: float, v: float) -> tuple[float, float]:
        """From the heart's long axis (towards the tip) and across (towards the back) to x and y."""
        return x0 + scale * (u * c - v * s), y0 + scale * (u * s + v * c)

    blood = 42 + patient.enhancement
    muscle = 60 + 0.4 * patient.enhancement + 6 * texture
    canvas.paint(blob(x0, y0, 61 * scale + 4, 43 * scale + 4, angle, bumps), FAT + 15, Label.BODY, within=inside)
    canvas.paint(blob(x0, y0, 61 * scale, 43 * scale, angle, bumps), muscle, Label.HEART, within=inside)
    chambers = (  # u, v, half length, half width, share of the enhancement: left and right ventricle and atrium
        (20, 13, 28, 15, 1.0),
        (14, -23, 32, 12, 0.85),
        (-31, 19, 18, 17, 1.0),
        (-35, -16, 19, 16, 0.8),
    )
    for u, v, long, wide, share in chambers:
        x, y = at(u, v)
        value = 42 + share * (blood - 42) + 5 * texture
        canvas.paint(ellipse(x, y, long * scale, wide * scale, angle), value, Label.HEART, within=inside)


def paint_great_vessels(scene: Scene) -> None:
    """Aorta, caval and pulmonary vessels, and the gullet among them."""
    canvas, patient, level = scene.canvas, scene.patient, scene.level
    a, blood, wall = patient.aorta, 42 + patient.enhancement, 45.0
    spine = scene.spine_y

    def tube(inside: Shape, value: float) -> None:
        outside = Shape(lambda x, y: inside(x, y) + 1.2, inside.x, inside.y, inside.reach + 2)
        canvas.paint(outside, wall, Label.VESSEL)
        canvas.paint(inside, value, Label.VESSEL)

    if level < 0.12:  # the arch runs from front right to back left
        tube(capsule(-4, -20, 20, spine - 18, 13 * a, 12 * a), blood)
    else:
        tube(ellipse(23, spine - 10, 11.5 * a, 11.5 * a), blood)  # descending aorta
        if level < 0.62:
            tube(ellipse(-6, -24, 15.5 * a, 15 * a), blood)  # ascending
    if level < 0.55:
        tube(ellipse(-28, -20, 9, 10), 42 + 1.25 * patient.enhancement)  # superior vena cava
    if 0.26 < level < 0.52:
        tube(ellipse(20, -30, 14.5, 13), blood)  # pulmonary trunk
        if level < 0.38:
            tube(capsule(20, -26, 40, 6, 11, 8), blood)  # to the left lung
        else:
            tube(capsule(18, -16, -36, 4, 9.5, 8), blood)  # behind the aorta to the right lung
    if level >= 0.3:
        for side in (-1, 1):  # hilar vessels
            tube(ellipse(side * 36, 14, 5.5, 7), blood)
    if level > 0.85:
        tube(ellipse(-30, 4, 12, 10), 42 + 0.6 * patient.enhancement)  # inferior vena cava
    canvas.paint(ellipse(-9, spine - 17, 3.6, 3.6), blood, Label.VESSEL)  # azygos vein
    canvas.paint(ellipse(6, spine - 24, 8, 6), 42.0, Label.BODY)  # gullet
    canvas.paint(ellipse(7, spine - 24, 1.6, 1.0), -400.0, Label.BODY)


def paint_airways(scene: Scene) -> None:
    """Windpipe, and below its fork the two main bronchi."""
    canvas, level = scene.canvas, scene.level
    if level < 0.3:
        places = [(-2.0, 10.0, 9.5, 9.0)]
    elif level < 0.7:
        apart = 12 + 55 * (level - 0.3)
        places = [(-apart, 12.0, 8.0 - 4 * (level - 0.3), 6.5), (apart + 2, 12.0, 7.5 - 4 * (level - 0.3), 6.0)]
    else:
        return
    for x, y, rx, ry in places:
        canvas.paint(ellipse(x, y, rx + 1.8, ry + 1.8), 20.0, Label.BODY)
        canvas.paint(ellipse(x, y, rx, ry), AIR, Label.AIR)


def paint_abdomen(scene: Scene, lungs: Field) -> None:
    """The domes of liver and spleen, which rise into the lowest slices."""
    canvas, patient, level, texture = scene.canvas, scene.patient, scene.level, scene.texture
    rise = (level - 0.82) / 0.18
    if rise <= 0:
        return
    w, d = patient.half_width, patient.half_depth
    liver = 58 + 0.35 * patient.enhancement + 6 * texture
    spleen = 50 + 0.5 * patient.enhancement + 6 * texture
    right = lungs * (canvas.x < 0) * (canvas.label != Label.VESSEL)
    dome = blob(-0.48 * w, 0.02 * d, 0.4 * w * rise, 0.66 * d * rise, 0.1, np.array([[2, 0.05, 0.5], [3, 0.04, 1.0]]))
    canvas.paint(dome, liver, Label.BODY, within=right)
    canvas.paint(ellipse(0.62 * w, 0.42 * d, 0.3 * w * rise, 0.3 * d * rise, 0.5), spleen, Label.BODY, within=lungs)


def paint_tumour(scene: Scene, lungs: Field) -> None:
    """The tumour, if there is one and the slice meets it; it grows into lung or fat, not into heart or bone."""
    canvas, patient, level, texture = scene.canvas, scene.patient, scene.level, scene.texture
    tumour = patient.tumour
    if tumour is None:
        return
    share = 1 - ((level - tumour.level) / tumour.reach) ** 2
    radius = tumour.radius_mm * np.sqrt(max(share, 0.0))
    if radius < 3:
        return
    p, q = tumour.place
    if tumour.site == "mediastinum":
        x, y = (-30 + 68 * p), (-14 + 34 * q)
    else:
        side = -1 if tumour.site == "right lung" else 1
        x = side * (52 + p * (patient.half_width * 0.68 - 62))
        y = (-0.35 + 0.65 * q) * patient.half_depth
    soft = scene.inside * np.isin(canvas.label, (Label.BODY, Label.LUNG))
    inside = soft if tumour.site == "mediastinum" else lungs
    value = tumour.hu + tumour.uptake * patient.enhancement
    for angle in scene.rng.uniform(0, 2 * np.pi, tumour.spicules):
        far = radius * scene.rng.uniform(1.25, 2.0)
        tip = (x + far * np.cos(angle), y + far * np.sin(angle))
        canvas.paint(capsule(x, y, *tip, radius * 0.14 + 1, 0.25), value - 40, Label.TUMOUR, within=lungs)
    squash = 0.75 + 0.25 * q
    canvas.paint(
        blob(x, y, radius, radius * squash, 3 * p, tumour.waves), value + 12 * texture, Label.TUMOUR, within=inside
    )
    if tumour.necrosis:
        core = blob(
            x, y, radius * tumour.necrosis, radius * squash * tumour.necrosis, 3 * p, tumour.waves * [1, 1.5, 1]
        )
        canvas.paint(core, 12 + 8 * texture, Label.TUMOUR, within=inside)
