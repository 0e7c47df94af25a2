"""Places of images sampled in vectors, against the same in Python, number by number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl.device import kernel, numba_status
from minidl.device.pointers import pointer_to
from minidl.device.sampled_places import BORDER, CUBIC, LINEAR, NEAREST, REFLECTION, ZEROS, sample_places

pytestmark = [
    pytest.mark.numba,
    pytest.mark.skipif(not numba_status(), reason="Numba is not installed"),
]


@kernel("T[::1], const T[::1], const T[::1], const int64[::1], intp", T=("float32", "float64"))
def _run(begin: int, end: int, out: Any, x: Any, grid: Any, sizes: Any, apart: int) -> None:
    places, pixels = len(grid) // 2, sizes[2] * sizes[3]
    sample_places(
        out, 1, places if apart == 1 else 1, apart, x, 0, pixels if apart == 1 else 1, apart, pointer_to(grid, 0),
        places, pointer_to(sizes, 0),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("padding", [ZEROS, BORDER, REFLECTION])
@pytest.mark.parametrize("mode", [NEAREST, LINEAR, CUBIC])
def test_vectors_sample_as_python_does(mode: int, padding: int, aligned: int, is_last: bool, dtype: Any) -> None:
    """Of 37 places the last vector is part of one; nothing is written beside them."""
    rng = np.random.default_rng(0)
    for channels, height, width in ((3, 5, 7), (1, 1, 4)):
        x = rng.standard_normal(channels * height * width).astype(dtype)
        grid = rng.uniform(-2.5, 2.5, 2 * 37).astype(dtype)
        if padding != REFLECTION:  # which of ever so many turns is the last one is a matter of rounding
            grid[:8] = [np.nan, 0.25, np.inf, 0, 1e30, 0.5, -1, 1]
        sizes = np.array([2, 1, height, width, channels, 37, mode, padding, aligned])
        found, expected = np.full(37 * channels + 2, 7, dtype), np.full(37 * channels + 2, 7, dtype)
        with np.errstate(all="ignore"):
            _run.py_func(0, 1, expected, x, grid, sizes, channels if is_last else 1)
        _run(0, 1, found, x, grid, sizes, channels if is_last else 1)
        finite = np.isfinite(expected)
        tolerance = 2e-5 if dtype == np.float32 else 1e-13
        np.testing.assert_allclose(found[finite], expected[finite], rtol=tolerance, atol=tolerance)
        assert np.isnan(found[~finite]).all()
        assert found[0] == found[-1] == 7
