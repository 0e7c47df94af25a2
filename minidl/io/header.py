"""The header of a safetensors file, checked before the package reads it.

A header that is legal by the format can keep a reader busy for 18 s and a gigabyte. So its size, and the number of
values in it, are bounded before it is parsed; and all lengths are compared in whole numbers before memory is asked for.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.errors import FileFormatError


@dataclass(frozen=True)
class Limits:
    """The most that a file may ask for."""

    file_bytes: int = 64 << 30
    header_bytes: int = 16 << 20
    tensors: int = 65_536
    dimensions: int = 16
    name_bytes: int = 512


LIMITS = Limits()

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip

_CONVERT = (
    "; if PyTorch wrote it, convert it once: safetensors.torch.save_file(torch.load(path, weights_only=True), new_path)"
)
_FOREIGN = {
    b"PK\x03\x04": "a zip archive, as PyTorch's .pth, Keras and .npz files are" + _CONVERT,
    b"\x80": "a pickle, as old PyTorch files are" + _CONVERT,
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy .npy file; read it with numpy.load",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
}


def header_length(start: bytes, size: int, path: str, limits: Limits) -> int:
    """The header's length in bytes, from the first bytes of a file of `size` bytes.

    Raises:
        FileFormatError: naming what the file is, if it is something else, or what limit it breaks.
    """
    length = int.from_bytes(start[:8], "little")
    if start[8:9] != b"{" or length + 8 > size:
        for magic, kind in _FOREIGN.items():
            if start.startswith(magic):
                raise FileFormatError(f"{path}: is not a safetensors file but {kind}")
        if start[8:9] == b"{" and length <= limits.header_bytes:
            raise FileFormatError(f"{path}: is {size} bytes long, its header alone {length + 8}; it was cut off")
        raise FileFormatError(f"{path}: is not a safetensors file, or its beginning is damaged")
    if length > limits.header_bytes:
        raise FileFormatError(f"{path}: has a header of {length} bytes, more than the {limits.header_bytes} allowed")
    if size > limits.file_bytes:
        raise FileFormatError(f"{path}: is {size} bytes long, more than the {limits.file_bytes} allowed")
    return length


def check(header: bytes, size: int, path: str, limits: Limits) -> dict[str, str]:
    """Check a header, its leading 8 bytes included, against the limits and the file's size; gives the texts in it.

    Raises:
        FileFormatError: naming what is wrong.
    """
    header_length(header[:16], size, path, limits)
    entries = _parsed(header[8:], path, limits)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise FileFormatError(f"{path}: its header is damaged: the metadata must be texts")
    end = 0
    for start, stop in sorted(_span(path, name, entry, limits) for name, entry in entries.items()):
        if start != end:
            raise FileFormatError(f"{path}: its header is damaged: tensors overlap or leave holes")
        end = stop
    if len(header) + end != size:
        raise FileFormatError(
            f"{path}: is {size} bytes long, its header says {len(header) + end}; it was cut off or grew"
        )
    return metadata


def _parsed(text: bytes, path: str, limits: Limits) -> dict[str, Any]:
    """The header as a dict of entries."""
    # What parsing would make is bounded by the quotes, and by the brackets and commas outside of texts: a tensor has
    # five texts, three brackets, and a number for each dimension.
    bare = text.replace(rb"\\", b"").replace(rb"\"", b"")
    too_many = f"{path}: its header holds more than the {limits.tensors} tensors allowed"
    if bare.count(b'"') > 16 * limits.tensors:
        raise FileFormatError(too_many)
    skeleton = re.sub(rb'"[^"]*"', b"", bare)
    allowed = {b"{": limits.tensors + 2, b"[": 2 * limits.tensors, b",": (limits.dimensions + 4) * limits.tensors}
    if any(skeleton.count(mark) > most for mark, most in allowed.items()):
        raise FileFormatError(too_many)
    try:
        entries = json.loads(text.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: its header is damaged, or a name is there twice") from error
    if not isinstance(entries, dict):
        raise FileFormatError(f"{path}: its header is damaged")
    return entries


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) != len(pairs):
        raise ValueError("a name is there twice")
    return named


def _span(path: str, name: str, entry: Any, limits: Limits) -> tuple[int, int]:
    """Where a tensor's bytes begin and end, after its entry was checked."""
    try:
        shape, (start, stop), dtype = entry["shape"], entry["data_offsets"], entry["dtype"]
        whole = isinstance(dtype, str) and all(type(n) is int and n >= 0 for n in (*shape, start, stop))
    except (TypeError, KeyError, ValueError):
        whole = False
    if not whole:
        raise FileFormatError(f"{path}: its header is damaged at {name[:80]!r}")
    if len(shape) > limits.dimensions or len(name.encode(errors="replace")) > limits.name_bytes:
        raise FileFormatError(
            f"{path}: {name[:80]!r} has more than {limits.dimensions} dimensions, or more than "
            f"{limits.name_bytes} bytes of name"
        )
    if dtype not in DTYPES:
        raise FileFormatError(
            f"{path}: {name[:80]!r} has element type {str(dtype)[:20]!r}; known are {', '.join(DTYPES)}"
        )
    size = np.dtype(DTYPES[dtype]).itemsize
    for n in shape:
        size *= n
    if stop - start != size:
        raise FileFormatError(
            f"{path}: its header is damaged: {name[:80]!r} holds {stop - start} bytes, its shape needs {size}"
        )
    return start, stop
