"""Checkpoints: all that the rest of a training run depends on, in one file that is whole or not there.

The file is safetensors. Arrays are its tensors; everything else (learning rates, step counts, the position in the data)
is JSON in its header, together with a SHA-256 of all of it, so that a flipped bit is found before anything is changed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from minidl.core import Array, Tensor
from minidl.errors import FileFormatError
from minidl.io.safetensors import read, save
from minidl.random import Generator, default_generator

KEY = "minidl_checkpoint"
VERSION = 1


class Stateful(Protocol):
    """A module, an optimiser, a schedule, a loader: what gives and takes a state_dict."""

    def state_dict(self) -> Any: ...
    def load_state_dict(self, state_dict: Any, /) -> Any: ...


@dataclass(frozen=True)
class Checkpoint:
    """What `read_checkpoint` found.

    Attributes:
        states: the state_dict of each object that was saved, by its name ("model", "optimizer", ...).
        position: plain data: epoch, step, history, whatever the run put there.
        arrays: further arrays by name.
        random: the state of the random generator.
    """

    states: dict[str, Any]
    position: dict[str, Any]
    arrays: dict[str, Array]
    random: dict[str, Any]

    def restore(self, *, generator: Generator | None = None, **objects: Stateful) -> None:
        """Load each object's state by its name, and the random state; all of it, or nothing.

        Raises:
            FileFormatError: if an object was not saved under that name.
            Exception: what an object raises that its state does not fit; those loaded before it are put back.
        """
        if missing := sorted(objects.keys() - self.states.keys()):
            raise FileFormatError(
                f"checkpoint: holds no state for {missing[0]!r}; it has {', '.join(sorted(self.states))}"
            )
        before = {name: _copied(thing.state_dict()) for name, thing in objects.items()}
        loaded: list[str] = []
        try:
            for name, thing in objects.items():
                loaded.append(name)
                thing.load_state_dict(_copied(self.states[name]))
        except Exception:
            for name in loaded:
                objects[name].load_state_dict(before[name])
            raise
        (generator or default_generator()).set_state(self.random)


def save_checkpoint(
    path: str | os.PathLike[str],
    *,
    position: Mapping[str, Any] | None = None,
    arrays: Mapping[str, Array] | None = None,
    generator: Generator | None = None,
    **objects: Stateful,
) -> Path:
    """Write the state of `objects`, and of the random generator, as one file; the old one stays if that fails.

    Args:
        position: plain data: numbers, texts, lists, dicts.
        arrays: further arrays by name.
        generator: the default generator when None.
        objects: modules, optimisers, schedules, each under a name of your choice.

    >>> save_checkpoint(path, model=model, optimizer=optimizer, position={"epoch": 3})  # doctest: +SKIP
    """
    packed: dict[str, Array] = {}
    content = {
        "version": VERSION,
        "states": {name: _pack(thing.state_dict(), f"states.{name}", packed) for name, thing in objects.items()},
        "position": _pack(dict(position or {}), "position", packed),
        "arrays": _pack(dict(arrays or {}), "arrays", packed),
        "random": _pack((generator or default_generator()).get_state(), "random", packed),
    }
    text = json.dumps(content)
    return save(packed, path, {KEY: text, "sha256": _digest(text, packed)})


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read and check a checkpoint; nothing is applied yet.

    Raises:
        FileFormatError: if the file is damaged, or not a checkpoint.
        OSError: if it cannot be read.
    """
    arrays, metadata = read(path)
    if KEY not in metadata:
        raise FileFormatError(f"{path}: holds weights, but is not a checkpoint; read it with minidl.load")
    if _digest(metadata[KEY], arrays) != metadata.get("sha256"):
        raise FileFormatError(f"{path}: is damaged, its checksum does not fit; go back to an earlier checkpoint")
    content = json.loads(metadata[KEY])
    if content["version"] != VERSION:
        raise FileFormatError(f"{path}: has version {content['version']}; this release reads version {VERSION}")
    parts = {name: _unpack(content[name], arrays) for name in ("position", "arrays", "random")}
    return Checkpoint({name: _unpack(state, arrays) for name, state in content["states"].items()}, **parts)


def _digest(text: str, arrays: Mapping[str, Array]) -> str:
    sha = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        sha.update(f"{name}{arrays[name].dtype.str}{arrays[name].shape}".encode())
        sha.update(np.ascontiguousarray(arrays[name]).data)
    return sha.hexdigest()


def _pack(value: Any, place: str, arrays: dict[str, Array]) -> Any:
    """`value` as JSON; arrays in it are put into `arrays`, and their names left in their place.

    JSON has no tuples, and its dicts only texts as keys: both are written as a tagged list.
    """
    if isinstance(value, Tensor):
        return {"tensor": _pack(value.detach().cpu().array, place, arrays)}
    if isinstance(value, np.ndarray):
        arrays[place] = value
        return {"array": place}
    if isinstance(value, Mapping):
        return {"dict": [[key, _pack(item, f"{place}.{key}", arrays)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        items = [_pack(item, f"{place}.{i}", arrays) for i, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise FileFormatError(
        f"checkpoint: {place} is a {type(value).__name__}, which is neither a number, text, list, dict nor array"
    )


def _unpack(value: Any, arrays: Mapping[str, Array]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return Tensor.of(_unpack(content, arrays))
    if kind == "array":
        return arrays[content]
    if kind == "tuple":
        return tuple(_unpack(item, arrays) for item in content)
    return {key: _unpack(item, arrays) for key, item in content}


def _copied(state: Any) -> Any:
    """A state_dict whose arrays are its own."""
    arrays: dict[str, Array] = {}
    text = _pack(state, "", arrays)
    return _unpack(text, {name: array.copy() for name, array in arrays.items()})
