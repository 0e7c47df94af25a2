"""Copies into another order of memory: every number arrives, whatever the dimensions, with ragged ends."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from minidl.device import turn, use_numba
from minidl.device.turn import channels_last, contiguous, copy_into, reshaped

IMAGES = [
    (8, 4, 64, 64),
    (3, 2, 61, 67),
    (1, 7, 1000),
    (5, 3, 33, 31),
    (2, 3, 17, 19, 23),
    (1, 5, 900, 1),
    (9, 16, 40, 40),
    (2, 300, 9, 5),
]


def numbers(shape, dtype):
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


@pytest.mark.parametrize("shape", IMAGES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_images_turn_to_channels_last_and_back(shape, dtype) -> None:
    x = numbers(shape, dtype)
    found = channels_last(x)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, np.moveaxis(x, 1, -1))
    back = contiguous(np.moveaxis(found, -1, 1))
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, x)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
@pytest.mark.parametrize("shape", [(7, 9, 11, 13), (2, 33, 3, 70), (130, 1, 5, 140)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_every_order_is_copied(shape, order, dtype) -> None:
    x = numbers(shape, dtype).transpose(order)
    found = contiguous(x)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, x)
    out = np.empty(x.shape[::-1], dtype).T
    copy_into(out, x)
    np.testing.assert_array_equal(out, x)


SEEN = {
    "a part of the lines": lambda x: x[:, :, 3:9],
    "a part of the rows": lambda x: x[:, 5:90].transpose(0, 2, 1),
    "every second row": lambda x: x[:, ::2],
    "every second number": lambda x: x[:, :, ::2],
    "backwards": lambda x: x[::-1, :, ::-1],
    "rows that are repeated": lambda x: np.broadcast_to(x[:, :1], x.shape),
    "numbers that are repeated": lambda x: np.broadcast_to(x[:, :, :1], x.shape),
    "columns that are repeated": lambda x: np.broadcast_to(x[:, :1], x.shape).transpose(2, 0, 1),
    "one number for all": lambda x: np.broadcast_to(x[:1, :1, :1], x.shape),
    "windows that overlap": lambda x: np.lib.stride_tricks.sliding_window_view(x, 5, axis=1),
}


@pytest.mark.parametrize("see", SEEN.values(), ids=SEEN)
def test_views_are_copied(see) -> None:
    x = numbers((30, 101, 17), np.float32)
    seen = see(x)
    found = contiguous(seen)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, seen)
    with use_numba(False):
        np.testing.assert_array_equal(contiguous(seen), found)


def test_long_lines_are_cut() -> None:
    x = numbers((3, 20011), np.float32)
    for seen in (x[:, 1:], x[:, 5][:, None].repeat(20000, 1), np.broadcast_to(x[:, 5:6], x.shape)):
        out = np.empty(seen.shape, np.float32)
        copy_into(out, seen)
        np.testing.assert_array_equal(out, seen)
        copy_into(out, out + 1)
        np.testing.assert_array_equal(out, seen + 1)


def test_a_copy_into_memory_with_gaps_leaves_the_gaps() -> None:
    x, room = numbers((100, 99), np.float32), np.zeros((100, 200), np.float32)
    copy_into(room[:, ::2][:, :99], x.copy(order="F"))
    np.testing.assert_array_equal(room[:, ::2][:, :99], x)
    assert not room[:, 1::2].any()


SHAPES = [(60, 84), (5, 12, 84), (12, 5, 7, 12), (5040,), (1, 5040, 1), (2, 30, 2, 42), (7, 720)]


@pytest.mark.parametrize("old", SHAPES, ids=str)
@pytest.mark.parametrize("new", SHAPES, ids=str)
def test_another_shape_is_a_view_wherever_numpy_gives_one(old, new, monkeypatch) -> None:
    monkeypatch.setattr(turn, "LEAST", 0)
    x = numbers(old, np.float32)
    lying = [x.transpose(order) for order in itertools.permutations(range(x.ndim))]
    lying += [x[..., ::-1], np.broadcast_to(x[:1], x.shape), numbers((*old, 2), np.float32)[..., 0]]
    for seen in lying:
        found, wanted = reshaped(seen, new), seen.reshape(new)
        assert np.shares_memory(found, seen) == np.shares_memory(wanted, seen)
        np.testing.assert_array_equal(found, wanted)
