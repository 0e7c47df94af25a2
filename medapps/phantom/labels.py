"""What the phantom's label values mean: the one place that says it."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["COLOURS", "Label"]


class Label(IntEnum):
    """Value of a pixel in a label map."""

    AIR = 0  # outside of the body, the table, and the airways
    BODY = 1  # fat, muscle, organs without a label of their own
    LUNG = 2
    HEART = 3  # chambers and muscle
    VESSEL = 4
    TUMOUR = 5
    BONE = 6


# Red, green, blue, for looking at a label map (colours that stay apart for most colour-blind readers).
COLOURS = {
    Label.AIR: (0, 0, 0),
    Label.BODY: (120, 110, 100),
    Label.LUNG: (86, 180, 233),
    Label.HEART: (213, 94, 0),
    Label.VESSEL: (0, 114, 178),
    Label.TUMOUR: (240, 228, 66),
    Label.BONE: (235, 235, 235),
}
