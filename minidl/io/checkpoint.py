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

from minidl.core import Array
from minidl.errors import FileFormatError
from minidl.io.plain import copied, pack, unpack
from minidl.io.safetensors import read, save
from minidl.io.whole import remove_leftovers
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
            FileFormatError: if an object was not saved under that name, or the random state is not one.
            Exception: what an object raises that its state does not fit; those loaded before it are put back.
        """
        if missing := sorted(objects.keys() - self.states.keys()):
            raise FileFormatError(
                f"checkpoint: holds no state for {missing[0]!r}; it has {', '.join(sorted(self.states))}"
            )
        before = {name: copied(thing.state_dict()) for name, thing in objects.items()}
        loaded: list[str] = []
        try:
            for name, thing in objects.items():
                loaded.append(name)
                thing.load_state_dict(copied(self.states[name]))
            (generator or default_generator()).set_state(self.random)  # last: it changes nothing when it fails
        except BaseException:  # Ctrl-C, too, must not leave half of it
            for name in loaded:
                objects[name].load_state_dict(before[name])
            raise


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
        objects: modules, optimisers, schedules, loaders, each under a name of your choice.

    Raises:
        FileFormatError: for values that are neither plain data nor arrays, or more text than 16 MiB.
        DTypeError: for an array of an element type that safetensors files do not have.
        OSError: if the file could not be written.

    >>> save_checkpoint(path, model=model, optimizer=optimizer, position={"epoch": 3})  # doctest: +SKIP
    """
    packed: dict[str, Array] = {}
    content = {
        "version": VERSION,
        "states": {name: pack(thing.state_dict(), f"states.{name}", packed) for name, thing in objects.items()},
        "position": pack(dict(position or {}), "position", packed),
        "arrays": pack(dict(arrays or {}), "arrays", packed),
        "random": pack((generator or default_generator()).get_state(), "random", packed),
    }
    text = json.dumps(content)
    remove_leftovers(path)
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
    try:
        content = json.loads(metadata[KEY])
        if content["version"] != VERSION:
            raise FileFormatError(f"{path}: has version {content['version']!r}; this release reads version {VERSION}")
        parts = {name: unpack(content[name], arrays) for name in ("position", "arrays", "random")}
        states = {name: unpack(state, arrays) for name, state in content["states"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{path}: is not a checkpoint that minidl wrote ({error!r})") from error
    if not all(isinstance(part, dict) for part in parts.values()):
        raise FileFormatError(f"{path}: is not a checkpoint that minidl wrote")
    return Checkpoint(states, **parts)


def _digest(text: str, arrays: Mapping[str, Array]) -> str:
    sha = hashlib.sha256(text.encode(errors="backslashreplace"))
    for name in sorted(arrays):
        array = arrays[name].astype(arrays[name].dtype.newbyteorder("<"), order="C", copy=False)
        sha.update(f"{name}{array.dtype.str}{array.shape}".encode())
        sha.update(array.reshape(-1).view(np.uint8).data)
    return sha.hexdigest()
