"""The CUDA kernels of sums, executed on the CPU: whole numbers exactly, the same bits in any order of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minidl
from minidl.ops.reduce import Sum
from tests.minidl.gpu import cuda_on_cpu
from tests.minidl.gpu.conftest import stand_in

SUMS = [  # shape, dimensions, whether the kernel takes them
    ((4, 3, 20, 30), (0, 2, 3), True),
    ((4, 3, 5, 70, 60), (0, 2, 3, 4), True),
    ((3, 2, 1500), (2,), True),
    ((2, 1100), (0, 1), True),
    ((2, 3, 40, 50), (1, 3), False),
    ((2000, 3), (0,), False),
    ((5, 6), (1,), False),
    ((0, 1100), (1,), False),
    ((5, 0), (0, 1), False),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda t: t.__name__)
@pytest.mark.parametrize(("shape", "dims", "takes"), SUMS, ids=str)
def test_sums_of_whole_numbers_are_exact(
    shape: tuple[int, ...], dims: tuple[int, ...], takes: bool, dtype: type
) -> None:
    cuda_on_cpu.need_compiler()
    x = np.random.default_rng(0).integers(-9, 10, shape).astype(dtype)
    assert Sum.cuda_takes((x,), {"dims": dims}) == takes
    with stand_in():
        found = minidl.tensor(x).to("cuda").sum(dims).cpu().numpy()
    np.testing.assert_array_equal(found, x.sum(dims))


def test_neither_the_order_of_threads_nor_the_number_of_blocks_changes_a_bit() -> None:
    cuda_on_cpu.need_compiler()
    x, found = np.random.default_rng(0).standard_normal((4, 3, 30, 40)).astype(np.float32), []
    for load in cuda_on_cpu.LOADERS:
        with stand_in(load):
            found.append(minidl.tensor(x).to("cuda").sum((0, 2, 3)).cpu().numpy())
    np.testing.assert_allclose(found[0], x.sum((0, 2, 3), dtype=np.float64), rtol=1e-6)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def linear_gradients(device: str, activation: str) -> list[np.ndarray[Any, Any]]:
    """Those of two layers with an activation between them, beside something else that their input goes into."""
    rng = np.random.default_rng(0)
    shapes = (50, 7), (33, 7), (33,), (5, 33), (5,)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    x, *weights = leaves = [minidl.tensor(a).to(device).requires_grad_() for a in arrays]
    given = x * 2.0
    hidden = getattr(minidl.nn.functional, activation)(minidl.nn.functional.linear(given, *weights[:2]))
    result = minidl.nn.functional.linear(hidden, *weights[2:])
    ((result * result).sum() + given.pow(2).sum()).backward()
    return [t.grad.cpu().numpy() for t in leaves if t.grad is not None]


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh"])
def test_the_gradients_of_linear_layers_equal_the_cpus(activation: str) -> None:
    """To roundings; of tanh, the slope is the reference's."""
    cuda_on_cpu.need_compiler()
    with minidl.use_numba(False):
        wanted = linear_gradients("cpu", activation)
        with stand_in():
            given = linear_gradients("cuda", activation)
    assert len(given) == len(wanted) == 5
    for ours, theirs in zip(given, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * np.abs(theirs).max())
