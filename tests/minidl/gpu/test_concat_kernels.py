"""The CUDA kernel that joins and cuts arrays, executed on the CPU: the same bits as NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl.ops.concat import Part
from tests.minidl.gpu import cuda_on_cpu
from tests.minidl.gpu.conftest import stand_in

SHAPES = [((2, 3, 40), 1), ((5,), 0), ((3, 2, 4, 5), 3), ((2, 0, 4), 1), ((300, 2), 0)]


def joined_and_cut(shape: tuple[int, ...], dim: int) -> None:
    """Three arrays joined along `dim`, and a stretch of them cut out again."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    y = np.concatenate([x, x[:1]], 0) if dim == 0 else x
    wanted = np.concatenate([x, y, x], dim)
    start, length = shape[dim] // 2, shape[dim]
    joined = minidl.cat([minidl.tensor(a).to("cuda") for a in (x, y, x)], dim)
    part = Part.apply(joined, dim=dim, start=start, length=length)
    np.testing.assert_array_equal(joined.cpu().numpy(), wanted)
    np.testing.assert_array_equal(part.cpu().numpy(), wanted.take(range(start, start + length), dim))


@pytest.mark.parametrize(("shape", "dim"), SHAPES, ids=str)
def test_arrays_are_joined_and_cut(shape: tuple[int, ...], dim: int) -> None:
    cuda_on_cpu.need_compiler()
    for load in cuda_on_cpu.LOADERS:
        with stand_in(load):
            joined_and_cut(shape, dim)
