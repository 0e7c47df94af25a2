"""Weights as safetensors files: names, shapes, numbers, and short texts. No code can hide in them.

The `safetensors` package reads and writes them. Before it sees a file, the header is checked here, in `header.py`.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from minidl.core import Array, Tensor
from minidl.device import dtypes
from minidl.errors import ArgumentError, DTypeError, FileFormatError
from minidl.io.header import DTYPES, LIMITS, Limits, check, header_length
from minidl.io.whole import write_bytes


def save(tensors: Mapping[str, Any], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> Path:
    """Write named tensors, such as a state_dict, as one safetensors file; whole or not at all.

    The same tensors and texts, in any order, give the same bytes.

    Args:
        tensors: names to tensors or arrays.
        metadata: short texts that travel with them.

    Raises:
        ArgumentError: for names or metadata that are not texts.
        DTypeError: for an element type that the format does not have.
        FileFormatError: for more than `load` takes: too many tensors, or too much text.
        OSError: if the file could not be written; an old one is as it was.
    """
    from safetensors.numpy import save as to_bytes

    texts = dict(metadata or {})
    if not all(isinstance(text, str) for text in (*tensors, *texts, *texts.values())) or "__metadata__" in tensors:
        other = next((t for t in (*tensors, *texts, *texts.values()) if not isinstance(t, str)), "__metadata__")
        raise ArgumentError(
            f"save: names and metadata must be texts, and no tensor may be named '__metadata__'; got {other!r}"
        )
    content = to_bytes({name: _storable(name, value) for name, value in tensors.items()})
    header, data = _with_metadata(content, texts)
    check(header, len(header) + len(data), str(path), LIMITS)
    return write_bytes(path, header, data)


def load(path: str | os.PathLike[str], *, limits: Limits = LIMITS) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name, in the element types that they have there.

    Raises:
        FileFormatError: if the file is damaged, beyond the limits, or not a safetensors file; the sentence says what
            it is.
        OSError: if it cannot be read.
    """
    return {name: Tensor.of(array) for name, array in read(path, limits=limits)[0].items()}


def read(path: str | os.PathLike[str], *, limits: Limits = LIMITS) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays and the texts of a safetensors file; errors as for `load`."""
    from safetensors import SafetensorError, deserialize

    parse: Any = deserialize  # the package gives it no types
    with open(path, "rb", opener=_opener) as file:
        content, metadata = _checked(file, str(path), limits)
    try:
        entries = parse(content)
    except (SafetensorError, ValueError, OverflowError) as error:
        raise FileFormatError(f"{path}: is damaged ({error})") from error
    return {name: _array(entry, name, str(path)) for name, entry in entries}, metadata


def _storable(name: str, value: Any) -> Array:
    if isinstance(value, Mapping):
        raise DTypeError(f"save: {name!r} is a dict; save takes names to tensors, save_checkpoint takes nested states")
    array = value.detach().cpu().array if isinstance(value, Tensor) else np.asarray(value)
    array = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    if array.dtype.str not in DTYPES.values() and array.dtype.name != "bfloat16":
        raise DTypeError(
            f"save: {name!r} has element type {array.dtype}, which safetensors files do not have; convert it first"
        )
    return array


def _with_metadata(content: bytes, metadata: Mapping[str, str]) -> tuple[bytes, memoryview]:
    """The header of `content` with these texts, and the data. The package would write them in an arbitrary order."""
    end = 8 + int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8:end])
    if metadata:
        header = {"__metadata__": {key: metadata[key] for key in sorted(metadata)}, **header}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # data start at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text, memoryview(content)[end:]


def _opener(path: str, flags: int) -> int:
    """Open without waiting: a pipe in place of a file would hold the program up for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _checked(file: BinaryIO, path: str, limits: Limits) -> tuple[bytes, dict[str, str]]:
    """The content of a file, read after its header was found right, and the texts in it."""
    state = os.fstat(file.fileno())
    if not stat.S_ISREG(state.st_mode):
        raise FileFormatError(f"{path}: is not a file but a device, a pipe or a socket")
    size = state.st_size
    start = file.read(16)
    header = start + file.read(max(0, 8 + header_length(start, size, path, limits) - 16))
    metadata = check(header, size, path, limits)
    file.seek(0)
    content = file.read(size)
    if len(content) != size:
        raise FileFormatError(f"{path}: was changed while it was read; try again")
    return content, metadata


def _array(entry: dict[str, Any], name: str, path: str) -> Array:
    flat = np.frombuffer(entry["data"], DTYPES[entry["dtype"]])
    if entry["dtype"] == "BF16":
        return flat.astype(np.uint16, copy=False).view(dtypes.bfloat16).reshape(entry["shape"])
    if entry["dtype"] == "BOOL" and flat.size and flat.view(np.uint8).max() > 1:
        raise FileFormatError(f"{path}: is damaged: {name[:80]!r} holds bools that are neither 0 nor 1")
    return flat.reshape(entry["shape"]).astype(flat.dtype.newbyteorder("="), copy=False)
