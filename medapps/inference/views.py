"""Views: an image judged several times, a little changed each time, and the opinions averaged.

A network's errors under small changes of its input are only partly shared, so that the mean is steadier than any one.
A view is an augmentation with fixed parameters, as plain data: {"name": "flip", "params": {"x": true}}.

Source: Krizhevsky, Sutskever and Hinton, NIPS 2012, section 4.1 (averaging over crops and reflections).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.transforms import augmentations

__all__ = ["View", "seen"]

View = Mapping[str, Any]


def seen(images: NDArray[np.float32], views: Sequence[View]) -> Iterator[NDArray[np.float32]]:
    """`images` (N, C, H, W) as they are, then once for each view.

    Raises:
        InputError: for an unknown transform, or parameters that it does not take.

    >>> image = np.array([[[[1.0, 2.0]]]], np.float32)
    >>> [v.ravel().tolist() for v in seen(image, [{"name": "flip", "params": {"x": True}}])]
    [[1.0, 2.0], [2.0, 1.0]]
    """
    yield images
    for view in views:
        (transform,) = augmentations([{"name": view.get("name")}])
        try:
            changed = transform.apply_batch(images, [dict(view["params"])] * len(images))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"views: {dict(view)} does not suit {transform.name} ({error})") from error
        yield np.asarray(changed, np.float32)
