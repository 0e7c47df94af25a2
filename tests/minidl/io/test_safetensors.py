from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from safetensors.numpy import load as from_bytes
from safetensors.numpy import load_file, save_file

import minidl
from minidl.errors import ArgumentError, DTypeError, FileFormatError
from minidl.io import Limits, read

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


def test_bfloat16_travels_to_pytorch_and_back(tmp_path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file as save_torch

    values = torch.tensor([[1.0, -2.5, 0.1], [3e38, float("inf"), float("nan")]], dtype=torch.bfloat16)
    save_torch({"x": values}, str(tmp_path / "theirs.safetensors"))
    loaded = minidl.load(tmp_path / "theirs.safetensors")["x"]
    assert loaded.dtype == minidl.bfloat16
    np.testing.assert_array_equal(loaded.float().numpy(), values.float().numpy())
    minidl.save({"x": loaded}, tmp_path / "ours.safetensors")
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()
    assert torch.equal(load_torch(tmp_path / "ours.safetensors")["x"].view(torch.int16), values.view(torch.int16))


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
        (zipped(), "not a safetensors file but a zip archive.*weights_only=True"),
        (pickle.dumps({"a": 1}), "but a pickle.*weights_only=True"),
        (b"\x89HDF\r\n" + bytes(50), "but an HDF5 file$"),
        (b"\x93NUMPY" + bytes(50), "but a NumPy .npy file"),
        (b"", "is not a safetensors file"),
        (b"hello, this is text", "is not a safetensors file"),
        (struct.pack("<Q", 1 << 40) + b"{" + bytes(50), "is not a safetensors file"),
        (struct.pack("<Q", 500) + b"{" + bytes(50), "is 59 bytes long, its header alone 508; it was cut off"),
        (struct.pack("<Q", (16 << 20) + 1) + b"{" + bytes(16 << 20), "more than the 16777216 allowed"),
    ],
    ids=["zip", "pickle", "hdf5", "npy", "empty", "text", "absurd header", "cut header", "large header"],
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
        ({"x": {"dtype": [], "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
        ({"x": {"dtype": "U8", "shape": [1] * 17, "data_offsets": [0, 1]}}, bytes(1)),
        ({"x" * 513: {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}, bytes(1)),
        ({"x": {"dtype": "BOOL", "shape": [1], "data_offsets": [0, 1]}}, b"\2"),
        ({"__metadata__": {"a": 1}}, b""),
        ({"__metadata__": []}, b""),
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


NAMED_TWICE = (
    b'{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
)


@pytest.mark.parametrize(
    "text",
    [
        NAMED_TWICE,
        b'{"x":' * 60_000 + b"1" + b"}" * 60_000,
        b'{"x":' + b"[" * 1_000_000,
        b'{"x":[' + b"0," * 8_000_000 + b"0]}",
        b'{"x":[' + b"[]," * 5_000_000 + b"0]}",
        b'{"x":' + b"9" * 100_000 + b"}",
        b'{"x":"\xff"}',
        b'{"x":"' + rb"\\" * 8_000_000 + b'"}',
        b"{" + b'"' * 16_000_000,
    ],
    ids=["twice", "deep dicts", "deep lists", "numbers", "lists", "digits", "no UTF-8", "backslashes", "quotes"],
)
def test_a_header_that_would_keep_a_parser_busy_is_refused_early(tmp_path, text) -> None:
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(text)) + text + b"\0")
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError):
            minidl.load(tmp_path / "x")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5 * len(text) + (20 << 20)  # a few copies of the header itself, and no tree of objects


def test_random_damage_gives_the_named_error_or_a_file_that_the_package_reads_alike(tmp_path) -> None:
    minidl.save(ARRAYS, tmp_path / "whole", {"note": "ü {[,"})
    content = (tmp_path / "whole").read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    rng = random.Random(3)
    accepted = 0
    for _ in range(2000):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(end)] = rng.choice(b'{}[],:"0129 \\abFIU\x00\xff')
        (tmp_path / "x").write_bytes(damaged)
        try:
            ours = minidl.load(tmp_path / "x")
        except FileFormatError:
            continue
        accepted += 1
        theirs = from_bytes(bytes(damaged))
        assert ours.keys() == theirs.keys()
        for name, array in theirs.items():
            np.testing.assert_array_equal(ours[name].numpy().reshape(array.shape), array)
    assert accepted < 1000


def test_the_same_tensors_in_any_order_give_the_same_bytes(tmp_path) -> None:
    texts = {str(i): str(i) for i in range(8)}
    contents = set()
    for _ in range(10):
        minidl.save(ARRAYS, tmp_path / "x", texts)
        contents.add((tmp_path / "x").read_bytes())
        minidl.save(dict(reversed(ARRAYS.items())), tmp_path / "x", dict(reversed(texts.items())))
        contents.add((tmp_path / "x").read_bytes())
    assert len(contents) == 1
    assert read(tmp_path / "x")[1] == texts


def test_limits_can_be_set_lower(tmp_path) -> None:
    minidl.save(ARRAYS, tmp_path / "x")
    with pytest.raises(FileFormatError, match="more than the 3 tensors allowed"):
        read(tmp_path / "x", limits=Limits(tensors=3))
    with pytest.raises(FileFormatError, match="bytes long, more than the 100 allowed"):
        read(tmp_path / "x", limits=Limits(file_bytes=100))


def test_a_pipe_in_place_of_a_file_does_not_hang(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileFormatError, match="is not a file but a device"):
        minidl.load(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        minidl.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        minidl.load(tmp_path / "missing")


@pytest.mark.parametrize(
    ("tensors", "metadata", "error", "message"),
    [
        ({1: np.ones(1)}, None, ArgumentError, "names and metadata must be texts"),
        ({"x": np.ones(1)}, {"a": 1}, ArgumentError, "names and metadata must be texts"),
        ({"__metadata__": np.ones(1)}, None, ArgumentError, "no tensor may be named"),
        ({"x": {"y": np.ones(1)}}, None, DTypeError, "'x' is a dict.*save_checkpoint"),
        ({"x": None}, None, DTypeError, "'x' has element type object"),
    ],
)
def test_what_is_not_a_flat_dict_of_tensors_is_refused(tmp_path, tensors, metadata, error, message) -> None:
    with pytest.raises(error, match=message):
        minidl.io.save(tensors, tmp_path / "x", metadata)
    assert not list(tmp_path.iterdir())
