"""Nested states (dicts, lists, numbers, texts, arrays) as JSON, with the arrays put aside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Tensor
from minidl.errors import FileFormatError


def pack(value: Any, place: str, arrays: dict[str, Array]) -> Any:
    """`value` as JSON; arrays in it are put into `arrays`, and their names left in their place.

    JSON has no tuples, and its dicts only texts as keys: both are written as a tagged list.

    Raises:
        FileFormatError: for what `unpack` could not give back: objects, and keys other than numbers and texts.

    >>> arrays = {}
    >>> pack({"lr": 0.1, "mean": np.ones(2)}, "state", arrays), list(arrays)
    ({'dict': [['lr', 0.1], ['mean', {'array': 'state.mean'}]]}, ['state.mean'])
    """
    if isinstance(value, Tensor):
        return {"tensor": pack(value.detach().cpu().array, place, arrays)}
    if isinstance(value, np.ndarray):
        return {"array": _put_aside(value, place, arrays)}
    if isinstance(value, Mapping):
        return {"dict": [[_key(key, place), pack(item, f"{place}.{key}", arrays)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        items = [pack(item, f"{place}.{i}", arrays) for i, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    plain = value.item() if isinstance(value, np.generic) else value
    if plain is None or isinstance(plain, (bool, int, float, str)):
        return plain
    raise FileFormatError(
        f"checkpoint: {place} is of type {type(value).__name__}, which is neither a number, text, list, dict nor array"
    )


def unpack(value: Any, arrays: Mapping[str, Array]) -> Any:
    """What `pack` was given."""
    if isinstance(value, list):
        return [unpack(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return Tensor.of(unpack(content, arrays))
    if kind == "array":
        return arrays[content]
    if kind == "tuple":
        return tuple(unpack(item, arrays) for item in content)
    if kind == "dict":
        return {key: unpack(item, arrays) for key, item in content}
    raise ValueError(f"a value of kind {kind!r}")


def copied(state: Any) -> Any:
    """A state_dict whose arrays are its own."""
    arrays: dict[str, Array] = {}
    packed = pack(state, "", arrays)
    return unpack(packed, {name: array.copy() for name, array in arrays.items()})


def _put_aside(array: Array, place: str, arrays: dict[str, Array]) -> str:
    place = place[-120:]  # names in a file are bounded; the end tells more
    while place in arrays:  # {"a.b": x} and {"a": {"b": y}} meet in one place
        place += "'"
    arrays[place] = array
    return place


def _key(key: Any, place: str) -> Any:
    plain = key.item() if isinstance(key, np.generic) else key
    if plain is None or isinstance(plain, (bool, int, float, str)):
        return plain
    raise FileFormatError(f"checkpoint: the keys of {place} must be numbers or texts, got {key!r}")
