"""What a writer is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medapps.image import Image
from medapps.readers.study import StudyPath

__all__ = ["Algorithm", "Job"]


@dataclass(frozen=True)
class Algorithm:
    """What made a mask.

    name, version: of the program or model.
    model_sha256: of the model file, or "" where no model was used.
    """

    name: str
    version: str
    model_sha256: str = ""


@dataclass(frozen=True, eq=False)
class Job:
    """A checked label map, (z, y, x), with all that its file may have to say."""

    mask: NDArray[np.uint8]
    image: Image
    classes: tuple[str, ...]
    algorithm: Algorithm
    source: StudyPath | None
