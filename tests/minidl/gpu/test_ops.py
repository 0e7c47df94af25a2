"""Every op of the table on the GPU, forward and backward, against the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minidl
from minidl.core import Tensor
from minidl.device.dtypes import is_floating
from minidl.testing import Case
from minidl.testing.outcome import as_tuple
from tests.minidl.ops.cases import CASES


def without_signs(u: Tensor, s: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    """Two singular vectors may both change their sign, and LAPACK and cuSOLVER do not choose alike: what stays."""
    return minidl.matmul(u, v.mT), s


def results_and_gradients(case: Case, dtype: Any, device: str) -> list[np.ndarray[Any, Any]]:
    """On the CPU by the references, so that both sides run the same lines of code."""
    leaves = [t.to(device).requires_grad_(t.is_floating_point()) for t in case.inputs(dtype=dtype)]
    with minidl.use_numba(False):
        results = as_tuple(case.call(*leaves))
        if case.function is minidl.svd:
            results = without_signs(*results)
        for number, result in enumerate(results):
            assert result.device.type == device
            if result.requires_grad:
                weights = np.random.default_rng(number).standard_normal(result.shape).astype(result.dtype)
                result.backward(minidl.tensor(weights, device=device), retain_graph=True)
    gradients = [t.grad for t in leaves if t.grad is not None]
    assert all(g.device.type == device for g in gradients)
    return [t.detach().cpu().numpy() for t in (*results, *gradients)]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, minidl.bfloat16], ids=lambda t: np.dtype(t).name)
def test_results_and_gradients_equal_the_cpus(cuda: str, case: Case, dtype: Any) -> None:
    """A GPU sums in another order and has its own exp: a few roundings of the largest value.

    Of 16 bits, which are computed in float32, the last one may differ, and once more where a result is used again.
    """
    bound = {np.float32: 3e-6, np.float64: 1e-13}.get(dtype) or 2 * minidl.finfo(dtype).eps
    given = results_and_gradients(case, dtype, cuda)
    wanted = results_and_gradients(case, dtype, "cpu")
    assert len(given) == len(wanted)
    for ours, theirs in zip(given, wanted, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        if is_floating(ours.dtype):
            ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound * max(np.abs(theirs).max(initial=0), 1))
        else:
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_whole_numbers_are_scattered_too(cuda: str, dtype: Any) -> None:
    x, index = np.array([1, 250, 3], dtype), np.array([0, 1, 1, 1])
    source = minidl.tensor(np.array([1, 2, 3, 4], dtype), device=cuda)
    given = minidl.scatter_add(minidl.tensor(x, device=cuda), 0, minidl.tensor(index, device=cuda), source)
    np.add.at(x, index, np.array([1, 2, 3, 4], dtype))
    np.testing.assert_array_equal(given.cpu().numpy(), x)
