from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import minidl
from minidl.errors import DTypeError, FileFormatError

ARRAYS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "bias": np.array([], np.float64),
    "steps": np.array(7),
    "mask": np.array([True, False]),
    "half": np.array([1.5], np.float16),
    "turned": np.arange(6, dtype=np.int32).reshape(2, 3).T,
}


def test_the_package_reads_what_we_write_and_we_read_what_it_writes(tmp_path) -> None:
    minidl.save(ARRAYS, tmp_path / "ours.safetensors")
    theirs = load_file(tmp_path / "ours.safetensors")
    assert theirs.keys() == ARRAYS.keys()
    save_file({name: np.ascontiguousarray(a) for name, a in ARRAYS.items()}, tmp_path / "theirs.safetensors")
    ours = minidl.load(tmp_path / "theirs.safetensors")
    for name, array in ARRAYS.items():
        for given in (theirs[name], ours[name].numpy()):
            np.testing.assert_array_equal(given.reshape(array.shape), array)
            assert given.dtype == array.dtype


def test_bfloat16_becomes_float32(tmp_path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from safetensors.torch import save_file as save_torch

    values = torch.tensor([1.0, -2.5, 3e38, float("inf")], dtype=torch.bfloat16)
    save_torch({"x": values}, str(tmp_path / "b.safetensors"))
    loaded = minidl.load(tmp_path / "b.safetensors")["x"]
    np.testing.assert_array_equal(loaded.numpy(), values.to(torch.float32).numpy())


def test_an_element_type_without_a_name_is_refused(tmp_path) -> None:
    with pytest.raises(DTypeError, match="'x' has element type complex128"):
        minidl.save({"x": np.zeros(2, complex)}, tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", "b" * 100)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped(), "is a zip archive"),
        (pickle.dumps({"a": 1}), "is a pickle"),
        (b"\x89HDF\r\n" + bytes(50), "is an HDF5 file"),
        (b"\x93NUMPY" + bytes(50), "is a NumPy .npy file"),
        (b"", "is not a safetensors file"),
        (b"hello, this is text", "is not a safetensors file"),
        (struct.pack("<Q", 1 << 40) + b"{" + bytes(50), "is not a safetensors file"),
    ],
    ids=["zip", "pickle", "hdf5", "npy", "empty", "text", "huge header"],
)
def test_a_foreign_file_is_named(tmp_path, content, message) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        minidl.load(tmp_path / "x")


def headed(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)),
        ({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(3)),
        ({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(5)),
        ({"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8)),
        ({"x": {"dtype": "Q9", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
        ({"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}, b""),
        ({"x": {"dtype": "F32", "shape": [1 << 62, 4], "data_offsets": [0, 0]}}, b""),
        ({"x": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}, bytes(4)),
        ({"x": None}, b""),
        ({"__metadata__": {"a": 1}}, b""),
        ({f"t{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(70_000)}, b""),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, header, data) -> None:
    (tmp_path / "x").write_bytes(headed(header, data))
    with pytest.raises(FileFormatError):
        minidl.load(tmp_path / "x")


def test_every_truncation_is_noticed(tmp_path) -> None:
    minidl.save(ARRAYS, tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    for length in range(len(content)):
        (tmp_path / "cut").write_bytes(content[:length])
        with pytest.raises(FileFormatError):
            minidl.load(tmp_path / "cut")
