"""Sliding windows: every pixel is covered, weights sum to one, and a net of single pixels shows no seams."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl
from medapps.inference import segment_planes, with_context
from medapps.inference.sliding import gaussian, window_starts
from minidl import nn


@given(st.integers(1, 300), st.integers(1, 64), st.floats(0.0, 0.9))
def test_windows_cover_everything_and_overlap_as_asked(length: int, window: int, overlap: float) -> None:
    window = min(window, length)
    starts = window_starts(length, window, overlap)
    assert starts[0] == 0
    assert starts[-1] == length - window
    steps = np.diff(starts)
    assert (steps <= max(round(window * (1 - overlap)), 1)).all()


@pytest.mark.parametrize("size", [(40, 33), (20, 50), (16, 16), (9, 70)])
def test_a_network_of_single_pixels_gives_the_same_by_windows(size: tuple[int, int]) -> None:
    minidl.manual_seed(1)
    model = nn.Conv2d(2, 3, 1)
    planes = np.random.default_rng(0).standard_normal((2, 2, *size)).astype(np.float32)
    whole, windows = segment_planes(model, planes), segment_planes(model, planes, window=16)
    assert whole.shape == windows.shape == (2, 3, *size)
    np.testing.assert_allclose(windows, whole, atol=2e-6)  # a weighted mean of equal float32 numbers
    np.testing.assert_allclose(windows.sum(1), 1, atol=2e-6)


def test_the_middle_of_a_window_weighs_most() -> None:
    bell = gaussian(16, 16)
    assert bell.max() == bell[8, 8] == bell[7, 7]
    assert bell[0, 0] < 0.01 * bell[8, 8]
    np.testing.assert_allclose(bell, bell[::-1, ::-1])


def test_the_mode_of_the_network_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Dropout2d(0.5))
    segment_planes(model, np.zeros((1, 1, 4, 4), np.float32))
    assert model.training


def test_neighbours_are_repeated_at_the_ends() -> None:
    planes = np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1)
    assert with_context(planes, 1)[:, :, 0, 0].tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]


@pytest.mark.parametrize("size", [(5, 6), (4, 20), (20, 3), (20, 20)])
def test_a_small_picture_is_judged_as_if_mirrored(size: tuple[int, int]) -> None:
    minidl.manual_seed(0)
    model = nn.Conv2d(1, 2, 5, padding=2)
    planes = np.random.default_rng(1).standard_normal((2, 1, *size)).astype(np.float32)
    more = [max(16 - side, 0) for side in size]
    before = [m // 2 for m in more]
    border = [(b, m - b) for b, m in zip(before, more, strict=True)]
    padded = np.pad(planes, ((0, 0), (0, 0), *border), mode="symmetric")
    whole = segment_planes(model, padded)[:, :, before[0] :, before[1] :][:, :, : size[0], : size[1]]
    np.testing.assert_allclose(segment_planes(model, planes, (16, 16)), whole, atol=1e-6)
