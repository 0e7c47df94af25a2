"""The vessels of the lungs: trees that fork and thin out from the roots of the lungs, as one slice cuts them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medapps.phantom.canvas import Canvas, Field, capsule, ellipse
from medapps.phantom.labels import Label
from medapps.phantom.scene import Scene

__all__ = ["paint_lung_vessels"]

_SHOWN = 0.32  # share of the segments that lie in the plane of the slice
_THINNEST_MM = 0.65

Segment = tuple[float, float, float, float, float, float]  # x0, y0, x1, y1, r0, r1


def paint_lung_vessels(scene: Scene, free: Field) -> None:
    """Paint trees, cross-sections and some bronchi into the lungs; `free` is where lung is, 0 to 1."""
    canvas, rng = scene.canvas, scene.rng
    blood = 42 + 0.9 * scene.patient.enhancement
    for side in (-1.0, 1.0):
        root = (side * 36, 10 + 8 * (scene.level - 0.5))
        for angle in np.linspace(-1.2, 1.2, 5) + rng.normal(0, 0.15, 5):
            direction = angle if side > 0 else np.pi - angle
            for x0, y0, x1, y1, r0, r1 in _branch(rng, *root, direction, rng.uniform(2.2, 3.6)):
                if rng.random() < _SHOWN:
                    canvas.paint(capsule(x0, y0, x1, y1, r0, r1), blood, Label.VESSEL, within=free)
    _cross_sections(canvas, rng, free, blood)


def _branch(rng: np.random.Generator, x: float, y: float, direction: float, radius: float) -> Iterator[Segment]:
    """Segments of a tree; each fork splits the flow so that the cubes of the radii add up (Murray, 1926)."""
    pending = [(x, y, direction, radius)]
    while pending:
        x, y, direction, radius = pending.pop()
        if radius < _THINNEST_MM:
            continue
        length = radius * rng.uniform(5, 10) + 3
        x1, y1 = x + length * np.cos(direction), y + length * np.sin(direction)
        yield x, y, x1, y1, radius, radius * 0.9
        flow = rng.uniform(0.35, 0.65)
        spread = rng.uniform(0.45, 0.95)
        for share, turn in ((flow, -spread * (1 - flow)), (1 - flow, spread * flow)):
            pending.append((x1, y1, direction + turn + rng.normal(0, 0.12), radius * 0.9 * share ** (1 / 3)))


def _cross_sections(canvas: Canvas, rng: np.random.Generator, free: Field, blood: float) -> None:
    """Vessels that run through the plane: dots, larger near the root; some have a bronchus beside them."""
    ys, xs = np.nonzero(free > 0.99)
    if len(ys) == 0:
        return
    for i in rng.integers(0, len(ys), 70):
        x, y = float(canvas.x[ys[i], xs[i]]), float(canvas.y[ys[i], xs[i]])
        outwards = min(abs(abs(x) - 36) / 90 + abs(y) / 250, 1.0)
        radius = (2.6 - 2.1 * outwards) * rng.uniform(0.5, 1.2)
        shape = ellipse(x, y, radius, radius * rng.uniform(1.0, 1.9), rng.uniform(0, np.pi))
        canvas.paint(shape, blood, Label.VESSEL, within=free)
        if radius > 1.5 and rng.random() < 0.6:
            turn = rng.uniform(0, 2 * np.pi)
            bx, by = x + 2.1 * radius * np.cos(turn), y + 2.1 * radius * np.sin(turn)
            canvas.paint(ellipse(bx, by, radius + 0.9, radius + 0.9), -250.0, None, within=free)
            canvas.paint(ellipse(bx, by, radius, radius), -960.0, None, within=free)
