"""Model files: one safetensors file with the weights and, as JSON in its header, the card.

Nothing in such a file can run: weights are numbers, the architecture is a name from a list, or of a
plug-in that is installed here. All is checked before the
network is built, so a damaged or foreign file changes nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import minidl
from medapps.device import choose_device
from medapps.errors import InputError, OutputError
from medapps.inference.card import Card
from medapps.models import MODELS, build_model
from minidl import io, nn
from minidl.device import Device
from minidl.errors import FileFormatError
from minidl.nn.budget import weights_at_most

__all__ = ["Classifier", "load_model", "model_file", "save_model"]

_KEY = "medapps_model"  # the header's entry that holds the card; its presence makes the file one of ours


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network and what it needs to be used right."""

    model: nn.Module
    card: Card


def save_model(path: str | Path, classifier: Classifier) -> Path:
    """Write one file with weights and card, whole or not at all.

    Raises:
        OutputError: if it could not be written.
    """
    card = json.dumps(classifier.card.to_dict(), allow_nan=False)
    try:
        return io.save(classifier.model.state_dict(), path, {_KEY: card, "notice": classifier.card.notice})
    except OSError as error:
        raise OutputError(f"{path}: could not be written ({error.strerror or error})") from error


def load_model(path: str | Path, device: str | Device = "cpu") -> Classifier:
    """Read what `save_model` wrote; the network is in eval mode, on the device: "cpu", "cuda" or "auto".

    Raises:
        DeviceError: if the device cannot be used.
        InputError: one sentence if the file is missing, damaged, of another kind, or does not fit its own card.
    """
    file, where = model_file(path), choose_device(device)
    arrays, metadata = _read(file)
    if _KEY not in metadata:
        raise InputError(f"{file}: has no medapps card; give a model.safetensors that `medapps train` wrote")
    try:
        card = Card.from_dict(json.loads(metadata[_KEY]))
        return Classifier(_network(card, arrays).to(where), card)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: the card in the header is damaged") from error


def model_file(path: str | Path) -> Path:
    """The model's file; a run folder stands for the one in it."""
    inside = Path(path) / "model.safetensors"
    return inside if inside.is_file() else Path(path)


def _read(file: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    if not file.is_file():
        raise InputError(f"{file}: there is no such model file")
    try:
        return io.read(file)
    except FileFormatError as error:
        raise InputError(str(error)) from error
    except OSError as error:
        raise InputError(f"{file}: could not be read ({error.strerror or error})") from error


def _network(card: Card, arrays: dict[str, NDArray[Any]]) -> nn.Module:
    """The network of `card` with `arrays` as weights, after each was checked."""
    held = sum(array.size for array in arrays.values())
    _check_size(card, held)
    try:
        with weights_at_most(2 * held):  # twice: a file that lacks some is told which
            model = build_model(card.architecture)
    except MemoryError:
        raise InputError(f"model: the architecture needs more weights than the {held} in the file") from None
    wanted = {name: (tuple(t.shape), t.numpy().dtype) for name, t in model.state_dict().items()}
    if missing := sorted(wanted.keys() - arrays.keys()):
        raise InputError(f"weights {missing[0]!r} are missing")
    if extra := sorted(arrays.keys() - wanted.keys()):
        raise InputError(f"weights {extra[0]!r} belong to another architecture")
    for name, (shape, dtype) in wanted.items():
        if arrays[name].shape != shape or arrays[name].dtype != dtype:
            found = f"{arrays[name].dtype} {arrays[name].shape}"
            raise InputError(f"weights {name!r} must be {dtype} {shape}, got {found}")
        if not np.isfinite(arrays[name]).all():
            raise InputError(f"weights {name!r} hold values that are not numbers")
    model.load_state_dict({name: minidl.from_numpy(array) for name, array in arrays.items()})
    model.eval()
    return model


def _check_size(card: Card, held: int) -> None:
    """Refuse an architecture larger than the `held` weights in the file: a few bytes could ask for gigabytes."""
    widths = card.architecture.get("widths", [1])
    if card.architecture.get("name") in list(MODELS):
        if not isinstance(widths, list) or not all(isinstance(w, int) and w >= 1 for w in widths):
            raise InputError("model: the architecture's widths must be a list of whole numbers")
        if 9 * sum(w * w for w in widths) > held:
            raise InputError(f"model: the architecture needs more weights than the {held} in the file")
    for key, need in (("classes", len(card.classes)), ("in_channels", card.input_shape[0] * (2 * card.context + 1))):
        if card.architecture.get(key) != need:
            raise InputError(f"model: the architecture's {key} must be {need}, got {card.architecture.get(key)!r}")
