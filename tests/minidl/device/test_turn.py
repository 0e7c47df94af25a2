"""Images turned to channels-last memory: every number arrives, for few channels and many, with ragged ends."""

from __future__ import annotations

import numpy as np
import pytest

from minidl.device.turn import copy_channels_last

SHAPES = [
    (8, 4, 64, 64),
    (3, 2, 61, 67),
    (1, 7, 1000),
    (5, 3, 33, 31),
    (2, 3, 17, 19, 23),
    (1, 5, 900, 1),
    (9, 16, 40, 40),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_number_arrives(shape, dtype) -> None:
    x = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    found = copy_channels_last(x)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, np.moveaxis(x, 1, -1))
