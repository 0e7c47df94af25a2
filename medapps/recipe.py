"""Recipe: all that a training result depends on, besides the data, as plain values.

A variant is `dataclasses.replace(recipe, lr=1e-3)`. What is written beside a model is `to_dict()`, and `from_dict()` of
it gives an equal recipe or one sentence that names the field at fault.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from medapps.errors import InputError

__all__ = ["Recipe", "Step"]

Step = Mapping[str, Any]  # one transform: {"name": "rotate", and its arguments}

_CHOICES = {
    "balance": ("none", "sample", "weights"),
    "schedule": ("constant", "cosine", "one_cycle"),
    "select": ("val_auc", "val_balanced_accuracy", "val_dice", "val_loss"),
    "task": ("classify", "segment", "diagnose"),
}


@dataclass(frozen=True)
class Recipe:
    """How a network is prepared, built and trained.

    task: "classify" (one label an image), "segment" (one a pixel) or "diagnose" (one a patient).
    name: what the recipe is for.
    image_size: side in pixels that all images are resized to; None keeps their size.
    classes: names of what to segment, the rest becomes background; all that the data know when empty.
    modalities: DICOM modalities the model is for, such as "CT"; empty when that is not known.
    model: a name in `medapps.models.MODELS`, or that of a plug-in; widths: channels of its stages; regions: see
        `ResidualCNN`; dropout: share of features dropped; options: further arguments of that model, and all that a
        plug-in's model gets.
    prepare: deterministic transforms of every image, in order; augment: random ones, of training images only.
    views: augmentations with fixed "params", over which each prediction is averaged.
    balance: "sample" shows each class equally often, "weights" gives each the same weight in the loss; both weigh the
        classes equally in the validation loss. "none" leaves the classes as frequent as they are.
    label_smoothing: share of the target spread over all classes.
    patch_size: longest side of the patches that a segmentation is trained on; None takes whole slices. foreground:
        share of them that show a labelled pixel, so far as there is one. samples: how many are shown an epoch; one for
        each slice when None. context: slices on each side that are read along, in volumes. window: side of the squares
        that larger pictures are judged in; None judges them whole. dice: weight of the Dice loss beside cross-entropy.
    epochs, batch_size: passes over the training split, images a step.
    lr, weight_decay: peak learning rate and decoupled decay of AdamW.
    schedule: "constant", "cosine" or "one_cycle" (a quarter of the steps up, the rest down to zero, as a cosine).
    average: decay of the running average of the weights; the average is what is judged and kept. 0 turns it off.
    patience: epochs without a better `select` after which training stops.
    select: which validation figure chooses the best epoch.
    metrics: further figures of a plug-in, by name, that the test split is judged by; see `medapps.plugins`.
    seed: of weights, order, augmentation and dropout.

    >>> Recipe.from_dict({"lr": 0.001}).lr
    0.001
    >>> Recipe.from_dict({"learning_rate": 0.001})
    Traceback (most recent call last):
        ...
    medapps.errors.InputError: recipe: 'learning_rate' is no field; did you mean 'lr'?
    """

    task: str = "classify"
    name: str = "classify"
    image_size: int | None = None
    classes: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    model: str = "residual_cnn"
    widths: tuple[int, ...] = (16, 32, 64)
    regions: int = 1
    dropout: float = 0.2
    options: Mapping[str, Any] = field(default_factory=dict)
    prepare: tuple[Step, ...] = ({"name": "standardise"},)
    augment: tuple[Step, ...] = ()
    views: tuple[Step, ...] = ()
    balance: str = "sample"
    label_smoothing: float = 0.1
    patch_size: int | None = None
    foreground: float = 0.0
    samples: int | None = None
    context: int = 0
    window: int | None = None
    dice: float = 1.0
    epochs: int = 20
    batch_size: int = 64
    lr: float = 3e-3
    weight_decay: float = 0.05
    schedule: str = "one_cycle"
    average: float = 0.99
    patience: int = 20
    select: str = "val_loss"
    metrics: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (test, need) in _RULES.items():
            value = getattr(self, name)
            if not test(value):
                raise InputError(f"recipe: {name} must be {need}, got {value!r}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe with these values, and the defaults for fields not given.

        Raises:
            InputError: for an unknown field, or a value that the field does not take.
        """
        if not isinstance(values, Mapping):
            raise InputError(f"recipe: must be a table of fields and values, got {type(values).__name__}")
        known = [f.name for f in fields(cls)]
        for name in values:
            if name not in known:
                raise InputError(f"recipe: {name!r} is no field; {_hint(str(name), known)}")
        plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


_OTHER_NAMES = {"learning_rate": "lr", "decay": "weight_decay", "ema": "average", "batch": "batch_size"}


def _hint(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    near = _OTHER_NAMES.get(name) or next(iter(get_close_matches(name, known, 1)), None)
    return f"did you mean {near!r}?" if near else f"known are {', '.join(known)}"


def _is_whole(least: int) -> tuple[Any, str]:
    return (lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= least), f"a whole number from {least} up"


def _is_whole_or_none(least: int) -> tuple[Any, str]:
    test, need = _is_whole(least)
    return (lambda v: v is None or test(v)), f"{need}, or nothing"


def _is_number(low: float, high: float, need: str) -> tuple[Any, str]:
    return (lambda v: isinstance(v, int | float) and not isinstance(v, bool) and low <= v < high), need


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_one_of(names: tuple[str, ...]) -> tuple[Any, str]:
    return (lambda v: v in names), f"one of {', '.join(names)}"


def _are_steps(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(s, Mapping) and _is_text(s.get("name")) for s in value)


def _are_texts(value: Any) -> bool:
    return isinstance(value, tuple) and all(map(_is_text, value))


def _are_widths(value: Any) -> bool:
    whole, _ = _is_whole(1)
    return isinstance(value, tuple) and bool(value) and all(whole(w) for w in value)


_SHARE = _is_number(0.0, 1.0, "from 0 up to, not including, 1")
_STEPS = (_are_steps, 'a list of transforms such as {"name": "flip"}')
_RULES: dict[str, tuple[Any, str]] = {
    "name": (_is_text, "a text"),
    "image_size": _is_whole_or_none(8),
    "classes": (_are_texts, "a list of texts"),
    "modalities": (_are_texts, "a list of texts"),
    "model": (_is_text, "the name of a model"),
    "metrics": (_are_texts, "a list of texts"),
    "widths": (_are_widths, "a list of whole numbers from 1 up"),
    "regions": _is_whole(1),
    "dropout": _SHARE,
    "prepare": _STEPS,
    "augment": _STEPS,
    "views": _STEPS,
    **{name: _is_one_of(names) for name, names in _CHOICES.items()},
    "options": (lambda v: isinstance(v, Mapping) and all(map(_is_text, v)), "a table of the model's arguments"),
    "label_smoothing": _SHARE,
    "patch_size": _is_whole_or_none(8),
    "foreground": (_is_number(0.0, 1.0 + 1e-9, "")[0], "a share from 0 to 1"),
    "samples": _is_whole_or_none(1),
    "context": _is_whole(0),
    "window": _is_whole_or_none(8),
    "dice": _is_number(0.0, math.inf, "a number from 0 up"),
    "epochs": _is_whole(1),
    "batch_size": _is_whole(2),
    "lr": _is_number(math.ulp(0.0), math.inf, "a positive number"),
    "weight_decay": _is_number(0.0, math.inf, "a number from 0 up"),
    "average": _SHARE,
    "patience": _is_whole(1),
    "seed": _is_whole(0),
}
