"""What a transform is, and how one is written into a recipe and found again by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.plugins import WAY_OUT, find_plugin

__all__ = ["Augmentation", "Params", "Preparation", "Transform", "register", "transform_from_dict", "transform_names"]

Params = dict[str, Any]


class Transform:
    """Base of all transforms: a frozen dataclass of plain numbers, so that it fits into JSON."""

    name: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: {"name": ..., argument: value, ...}."""
        arguments = asdict(self)  # type: ignore[call-overload]  # every registered transform is a dataclass
        return {"name": self.name} | {k: list(v) if isinstance(v, tuple) else v for k, v in arguments.items()}


_REGISTRY: dict[str, type[Transform]] = {}
T = TypeVar("T", bound=Transform)


class Preparation(Transform):
    """A deterministic step that every image goes through, in training and in prediction alike."""

    def fit(self, images: NDArray[Any]) -> Self:
        """A copy that knows the statistics it needs from the training images (N, C, H, W); by default itself."""
        return self

    def apply(self, images: NDArray[Any]) -> NDArray[Any]:
        """Prepare (N, C, H, W), or one image (C, H, W)."""
        raise NotImplementedError


class Augmentation(Transform):
    """A random change of a training image that keeps its label: `params` draws, `apply` is pure."""

    # Whether pixels change their places, so that a label map has to move along.
    moves: ClassVar[bool] = False

    def params(self, rng: np.random.Generator, image: NDArray[Any]) -> Params:
        """Draw what will be done to `image` (C, H, W); plain numbers, so that it can be logged and replayed."""
        raise NotImplementedError

    def apply_batch(self, images: NDArray[np.float32], params: Sequence[Params]) -> NDArray[np.float32]:
        """Apply one set of parameters to each of (N, C, H, W), float32; gives a new array."""
        raise NotImplementedError

    def apply_masks(self, masks: NDArray[np.uint8], params: Sequence[Params]) -> NDArray[np.uint8]:
        """Label maps (N, H, W), moved as `apply_batch` moves the images; labels stay what they are."""
        if not self.moves:
            return masks
        return self.apply_batch(masks[:, None].astype(np.float32), params)[:, 0].astype(np.uint8)

    def apply(self, image: NDArray[Any], params: Params) -> NDArray[np.float32]:
        """Apply `params` to one image (C, H, W)."""
        return np.asarray(self.apply_batch(np.asarray(image, np.float32)[None], [params])[0])


def register(cls: type[T]) -> type[T]:
    """Make a transform known under its name."""
    _REGISTRY[cls.name] = cls
    return cls


def transform_names() -> tuple[str, ...]:
    """Names of all transforms, sorted."""
    return tuple(sorted(_REGISTRY))


def transform_from_dict(data: Mapping[str, Any]) -> Transform:
    """The transform that `to_dict` described.

    Raises:
        InputError: for an unknown name or argument, or a value that the transform refuses.
    """
    arguments = dict(data)
    name = arguments.pop("name", None)
    cls = _REGISTRY[name] if isinstance(name, str) and name in _REGISTRY else _of_plugin(name)
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    if set(arguments) - known:
        unknown = sorted(set(arguments) - known)[0]
        raise InputError(f"{name}: has no argument {unknown!r}; it takes {', '.join(sorted(known)) or 'none'}")
    try:
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()})
    except TypeError as error:
        raise InputError(f"{name}: {error}") from None


def _of_plugin(name: object) -> type[Transform]:
    plugin = find_plugin("transform", name)
    if plugin is None:
        known = ", ".join(transform_names())
        raise InputError(f"transform: no transform is called {name!r}; known: {known}; {WAY_OUT}")
    cls = plugin.load()
    if not (isinstance(cls, type) and issubclass(cls, Transform) and is_dataclass(cls)):
        raise plugin.refused("must be a dataclass made from medapps.transforms.Preparation or Augmentation")
    if cls.name != name:
        raise plugin.refused(f"calls itself {cls.name!r}; the entry point and the class need one name")
    return cls
