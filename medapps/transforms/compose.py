"""Chains of transforms: preparation steps in a row, and augmentation whose draws depend on nothing but
(seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.transforms.registry import Augmentation, Params, Preparation, Transform, transform_from_dict

__all__ = ["Compose", "augmentations", "augmented", "augmented_pairs", "draws", "preparations"]

T = TypeVar("T", bound=Transform)


@dataclass(frozen=True)
class Compose:
    """Preparation steps, one after the other.

    >>> from medapps.transforms import Clean, Standardise
    >>> images = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    >>> chain = Compose((Clean(), Standardise())).fit(images)
    >>> abs(float(chain.apply(images).mean())) < 1e-6
    True
    """

    steps: tuple[Preparation, ...] = ()

    def fit(self, images: NDArray[Any]) -> Compose:
        """Fit each step on what the ones before make of the training images (N, C, H, W)."""
        fitted = []
        for step in self.steps:
            fitted.append(step.fit(images))
            images = fitted[-1].apply(images)
        return Compose(tuple(fitted))

    def fit_pieces(self, pieces: Sequence[NDArray[Any]]) -> Compose:
        """`fit` on images of several sizes, each piece (n, C, H, W): their pixels are taken as one long picture."""
        fitted = []
        for step in self.steps:
            pixels = [np.moveaxis(piece, 1, 0).reshape(piece.shape[1], -1) for piece in pieces]
            fitted.append(step.fit(np.concatenate(pixels, axis=1)[None, :, None]))
            pieces = [fitted[-1].apply(piece) for piece in pieces]
        return Compose(tuple(fitted))

    def apply(self, images: NDArray[Any]) -> NDArray[Any]:
        """Prepare (N, C, H, W) or (C, H, W)."""
        for step in self.steps:
            images = step.apply(images)
        return images

    def to_list(self) -> list[dict[str, Any]]:
        """Plain data, one dict per step."""
        return [step.to_dict() for step in self.steps]

    @classmethod
    def from_list(cls, data: Iterable[Mapping[str, Any]]) -> Compose:
        """What `to_list` described.

        Raises:
            InputError: for an unknown step, or one that is not a preparation.
        """
        return cls(preparations(data))


def preparations(data: Iterable[Mapping[str, Any]]) -> tuple[Preparation, ...]:
    """Preparation steps from plain data."""
    return tuple(_of_kind(transform_from_dict(item), Preparation) for item in data)


def augmentations(data: Iterable[Mapping[str, Any]]) -> tuple[Augmentation, ...]:
    """Augmentations from plain data."""
    return tuple(_of_kind(transform_from_dict(item), Augmentation) for item in data)


def _of_kind(transform: Transform, kind: type[T]) -> T:
    if not isinstance(transform, kind):
        raise InputError(f"{transform.name}: is not one of the {kind.__name__.lower()} steps")
    return transform


Indices = Sequence[int] | NDArray[Any]


def draws(
    images: NDArray[Any], transforms: Sequence[Augmentation], seed: int, epoch: int, indices: Indices
) -> list[list[Params]]:
    """What will be done: for each image the parameters of each transform, plain data that can be logged."""
    # Philox is counter-based: its key names seed and epoch, its counter the image, 2^192 draws apart. Setting the
    # counter costs a tenth of making a new generator, which would take longer than the transforms.
    key = np.array([seed % 2**64, epoch], np.uint64)
    philox = np.random.Philox(key=key)
    rng = np.random.Generator(philox)
    chosen = []
    for index, image in zip(indices, images, strict=True):
        philox.state = {
            "bit_generator": "Philox",
            "state": {"counter": np.array([0, 0, 0, int(index)], np.uint64), "key": key},
            "buffer": np.zeros(4, np.uint64),
            "buffer_pos": 4,
            "has_uint32": 0,
            "uinteger": 0,
        }
        chosen.append([transform.params(rng, image) for transform in transforms])
    return chosen


def augmented(
    images: NDArray[Any],
    transforms: Sequence[Augmentation],
    seed: int,
    epoch: int,
    indices: Indices,
) -> NDArray[np.float32]:
    """Random variants of a batch of training images.

    Args:
        images: the batch, (N, C, H, W); not the whole data set.
        transforms: applied in order.
        seed: of the run.
        epoch: counted from 0.
        indices: (N,), the place of each image in the training split. The draws for an image depend on
            (seed, epoch, index) only: not on the batch it is in, nor on its place there.

    Returns:
        (N, C, H, W), float32; a new array.

    Raises:
        InputError: if `indices` do not go with `images`.
    """
    if images.ndim != 4 or len(images) != len(indices):
        raise InputError(f"augmented: images must be the batch of indices, got {images.shape} for {len(indices)}")
    out = np.array(images, np.float32)
    chosen = draws(out, transforms, seed, epoch, indices)
    for position, transform in enumerate(transforms):
        out = transform.apply_batch(out, [params[position] for params in chosen])
    return out


def augmented_pairs(
    images: NDArray[Any],
    masks: NDArray[np.uint8],
    transforms: Sequence[Augmentation],
    seed: int,
    epoch: int,
    indices: Indices,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """`augmented` for images with label maps (N, H, W): what moves a pixel moves its label."""
    out = np.array(images, np.float32)
    chosen = draws(out, transforms, seed, epoch, indices)
    for position, transform in enumerate(transforms):
        params = [drawn[position] for drawn in chosen]
        out, masks = transform.apply_batch(out, params), transform.apply_masks(masks, params)
    return out, masks
