"""Weights as safetensors files: names, shapes, numbers, and short texts. No code can hide in them.

The `safetensors` package reads and writes them. Before it sees a file, limits are checked here: a header that is legal
by the format can keep a reader busy for 18 s and a gigabyte, so we take at most 16 MiB of header and 65,536 tensors.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minidl.core import Array, Tensor
from minidl.errors import DTypeError, FileFormatError
from minidl.io.whole import write_bytes

MAX_HEADER_BYTES = 16 << 20
MAX_TENSORS = 65_536
MAX_DIMENSIONS = 32

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
FOREIGN = {
    b"PK": "a zip archive, as PyTorch's .pth and Keras files are",
    b"\x80": "a pickle, as old PyTorch files are",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy .npy file",
}
WAY_OUT = "convert PyTorch weights once with safetensors.torch.save_file(torch.load(path, weights_only=True), new_path)"


def save(tensors: Mapping[str, Any], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> Path:
    """Write named tensors, such as a state_dict, as one safetensors file; whole or not at all.

    Args:
        tensors: names to tensors or arrays.
        metadata: short texts that travel with them.

    Raises:
        DTypeError: for an element type that the format does not have.
        OSError: if the file could not be written.
    """
    from safetensors.numpy import save as to_bytes

    known = {np.dtype(code) for name, code in DTYPES.items() if name != "BF16"}
    content = {}
    for name, value in tensors.items():
        array = value.detach().cpu().array if isinstance(value, Tensor) else np.asarray(value)
        if array.dtype not in known:
            raise DTypeError(f"save: {name!r} has element type {array.dtype}, which safetensors files do not have")
        content[name] = array if array.flags.c_contiguous else array.copy()
    return write_bytes(path, to_bytes(content, metadata=dict(metadata) if metadata else None))


def load(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name; bfloat16 comes as float32, which holds every one of its values.

    Raises:
        FileFormatError: if the file is damaged, or not a safetensors file; the sentence says what it is.
        OSError: if it cannot be read.
    """
    return {name: Tensor.of(array) for name, array in read(path)[0].items()}


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays and the texts of a safetensors file; errors as for `load`."""
    from safetensors import SafetensorError, deserialize

    parse: Any = deserialize  # the package gives it no types
    content = Path(path).read_bytes()
    metadata = check(content, str(path))
    try:
        entries = parse(content)
    except (SafetensorError, ValueError, OverflowError) as error:
        raise FileFormatError(f"{path}: is damaged ({error})") from error
    return {name: _array(entry) for name, entry in entries}, metadata


def check(content: bytes, path: str) -> dict[str, str]:
    """Check a file's header against the limits and the file's length; gives the texts in it.

    Raises:
        FileFormatError: naming what is wrong.
    """
    for magic, kind in FOREIGN.items():
        if content.startswith(magic) and not _has_header(content):
            raise FileFormatError(f"{path}: is {kind}, not a safetensors file; {WAY_OUT}")
    if not _has_header(content):
        raise FileFormatError(f"{path}: is not a safetensors file, or its beginning is damaged")
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length].decode())
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: its header is damaged") from error
    metadata = header.pop("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FileFormatError(f"{path}: its header is damaged")
    if len(header) > MAX_TENSORS:
        raise FileFormatError(f"{path}: names {len(header)} tensors, more than the {MAX_TENSORS} allowed")
    spans = sorted(_span(path, name, entry) for name, entry in header.items())
    end = 0
    for start, stop in spans:
        if start != end:
            raise FileFormatError(f"{path}: its header is damaged: tensors overlap or leave holes")
        end = stop
    if 8 + length + end != len(content):
        raise FileFormatError(
            f"{path}: is {len(content)} bytes long, its header says {8 + length + end}; it was cut off or grew"
        )
    return metadata


def _has_header(content: bytes) -> bool:
    length = int.from_bytes(content[:8], "little")
    return 8 < 8 + length <= len(content) and length <= MAX_HEADER_BYTES and content[8:9] == b"{"


def _span(path: str, name: str, entry: Any) -> tuple[int, int]:
    """Where a tensor's bytes begin and end, after its entry was checked."""
    try:
        shape, (start, stop), dtype = entry["shape"], entry["data_offsets"], entry["dtype"]
        whole = all(type(n) is int and n >= 0 for n in (*shape, start, stop)) and len(shape) <= MAX_DIMENSIONS
    except (TypeError, KeyError, ValueError):
        whole = False
    if not whole:
        raise FileFormatError(f"{path}: its header is damaged at {name[:80]!r}")
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


def _array(entry: dict[str, Any]) -> Array:
    flat = np.frombuffer(entry["data"], DTYPES[entry["dtype"]])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    return flat.reshape(entry["shape"]).astype(flat.dtype.newbyteorder("="))
