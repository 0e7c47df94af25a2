"""Card: what a model file says about itself, as plain data, checked before anything is built from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from medapps import NOTICE
from medapps.errors import InputError
from medapps.inference.decision import Decision

__all__ = ["Card"]


@dataclass(frozen=True)
class Card:
    """Everything but the weights.

    task: "classify", "segment" or "diagnose".
    architecture: what `medapps.models.build_model` takes.
    preparation: the transforms every image goes through, with the figures found on the training split.
    input_shape: (C, H, W) of the images before preparation, uint8 values.
    modalities: DICOM modalities the model was made for; empty when the training data did not say.
    views: how else each image is judged before the mean is taken (see `medapps.inference.views`).
    classes: names, in the order of the outputs.
    context, window: of a segmentation: how many slices on each side are read along, and the side of the squares that
        larger pictures are judged in (None: whole).
    recipe: `Recipe.to_dict()`; data: name, digest and synthetic of what it was trained on.
    validation: figures of the kept epoch.
    decision: `Decision.to_dict()` of a model that decides about patients; None for a classifier of images.
    """

    architecture: Mapping[str, Any]
    preparation: tuple[Mapping[str, Any], ...]
    input_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    modalities: tuple[str, ...] = ()
    views: tuple[Mapping[str, Any], ...] = ()
    task: str = "classify"
    context: int = 0
    window: int | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    validation: Mapping[str, Any] = field(default_factory=dict)
    decision: Mapping[str, Any] | None = None
    notice: str = NOTICE

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON; without `decision` where there is none."""
        plain = asdict(self)
        return plain if self.decision is not None else {k: v for k, v in plain.items() if k != "decision"}

    @classmethod
    def from_dict(cls, values: Any) -> Card:
        """The card in `values`.

        Raises:
            InputError: one sentence that names the field at fault.
        """
        if not isinstance(values, Mapping):
            raise InputError("model: the card is not a table of fields")
        names = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - names):
            raise InputError(f"model: the card's field {unknown[0]!r} is not known; the file needs a newer medapps")
        for name, (test, need) in _RULES.items():
            if name not in values and name not in _LATER:
                raise InputError(f"model: the card has no {name}")
            if name in values and not test(values[name]):
                raise InputError(f"model: the card's {name} must be {need}, got {str(values[name])[:80]!r}")
        if values.get("decision") is not None:
            Decision.from_dict(values["decision"], values["classes"])
        plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**plain)


def _texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)


def _is_shape(value: Any) -> bool:
    sides = value if isinstance(value, list | tuple) else ()
    return (
        len(sides) == 3
        and all(isinstance(v, int) and not isinstance(v, bool) and 1 <= v <= 4096 for v in sides)
        and sides[0] in (1, 3)
    )


def _tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(v, Mapping) for v in value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_LATER = ("task", "context", "window")  # fields that the first model files did not have
_RULES: dict[str, tuple[Any, str]] = {
    "architecture": (lambda v: isinstance(v, Mapping), "a table"),
    "preparation": (_tables, "a list of transforms"),
    "input_shape": (_is_shape, "[1 or 3, height, width]"),
    "classes": (lambda v: _texts(v) and 2 <= len(v) <= 100_000, "a list of at least 2 names"),
    "views": (_tables, "a list of views"),
    "modalities": (_texts, "a list of names"),
    "task": (lambda v: v in ("classify", "segment", "diagnose"), "classify, segment or diagnose"),
    "context": (lambda v: _is_count(v) and v <= 16, "a whole number from 0 to 16"),
    "window": (lambda v: v is None or (_is_count(v) and v >= 8), "a whole number from 8 up, or nothing"),
    "recipe": (lambda v: isinstance(v, Mapping), "a table"),
    "data": (lambda v: isinstance(v, Mapping), "a table"),
}
