"""Medians by digits: the numbers and places that sorting gives, with NaN, infinities, both zeros and ties."""

from __future__ import annotations

import numpy as np
import pytest

import minidl

SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, 1e-42, -1e-42, 3e38, 2.0]


@pytest.mark.parametrize("name", ["median", "nanmedian"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("length", [1, 2, 3, 8, 257])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0], ids=["no NaN", "some NaN", "all NaN"])
def test_the_middle_is_where_sorting_has_it(name, dtype, length, share) -> None:
    rng = np.random.default_rng(0)
    for x in (rng.standard_normal((20, length)), rng.choice(SPECIAL, (20, length))):
        x = np.where(rng.random(x.shape) < share, np.nan, x).astype(dtype)
        for array, dim in ((x, 1), (np.ascontiguousarray(x.T), 0)):
            found = getattr(minidl, name)(minidl.tensor(array), dim)
            with minidl.use_numba(False):
                sorted_ = getattr(minidl, name)(minidl.tensor(array), dim)
            for ours, plain in zip(found, sorted_, strict=True):
                np.testing.assert_array_equal(ours.numpy(), plain.numpy())
