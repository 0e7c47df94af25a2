"""The compiled kernels against the references: every row of the table, odd sizes, and any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl.device import numba_status
from minidl.testing import Case
from tests.minidl.ops.cases import CASES

pytestmark = [
    pytest.mark.numba,
    pytest.mark.skipif(not numba_status(), reason="Numba is not installed"),
]


def gradients(call, inputs):
    leaves = [t.clone().requires_grad_(t.dtype.kind == "f") for t in inputs]
    result = call(*leaves)
    result = result[0] if isinstance(result, tuple) else result
    if result.requires_grad:
        weights = np.random.default_rng(0).standard_normal(result.shape).astype(result.dtype)
        result.backward(minidl.tensor(weights))
    return [result.detach().numpy(), *(t.grad.numpy() for t in leaves if t.grad is not None)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_compiled_and_reference_agree(case: Case) -> None:
    """Both in float32: sums run in another order, which moves the last digits of the largest value, so 3e-6 of it."""
    inputs = case.inputs(dtype=np.float32)
    compiled = gradients(case.call, inputs)
    with minidl.use_numba(False):
        plain = gradients(case.call, inputs)
    for ours, reference in zip(compiled, plain, strict=True):
        if ours.dtype.kind == "f":
            assert np.abs(ours - reference).max(initial=0) <= 3e-6 * max(np.abs(reference).max(initial=0), 1)
        else:
            np.testing.assert_array_equal(ours, reference)


def relu_of(x):
    return minidl.relu(x)


def leaky_of(x):
    return minidl.leaky_relu(x, 0.25)


def pool_of(x):
    return minidl.max_pool2d(x, 3, 2, 1)


def norm_of(x):
    return minidl.batch_norm(x, None, None, training=True)


@pytest.mark.parametrize("call", [relu_of, leaky_of, pool_of])
@pytest.mark.parametrize("shape", [(1, 1, 3, 3), (3, 5, 17, 19), (2, 33, 8, 40)])
def test_integers_are_exact(call, shape) -> None:
    """Whole numbers need no rounding, so all kernels must agree to the last bit."""
    x = minidl.tensor(np.random.default_rng(1).integers(-8, 8, shape).astype(np.float32))
    compiled = gradients(lambda t: call(t) * 4, [x])[0]
    with minidl.use_numba(False):
        np.testing.assert_array_equal(compiled, gradients(lambda t: call(t) * 4, [x])[0])


@pytest.mark.parametrize("call", [relu_of, leaky_of, pool_of, norm_of])
def test_bits_do_not_depend_on_the_number_of_threads(call) -> None:
    x = minidl.tensor(np.random.default_rng(2).standard_normal((5, 19, 23, 29)).astype(np.float32))
    before = minidl.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3, 7, 16):
            minidl.set_num_threads(threads)
            found.append(gradients(call, [x]))
    finally:
        minidl.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_batch_norm_statistics_do_not_cancel(offset) -> None:
    """CT numbers lie around 1000 with a spread of a few: the mean square minus the squared mean would be noise."""
    rng = np.random.default_rng(3)
    x = (rng.standard_normal((4, 3, 50, 50)) * 3 + offset).astype(np.float32)
    y = minidl.batch_norm(minidl.tensor(x), None, None, training=True).numpy()
    exact = x.astype(np.float64)
    exact = (exact - exact.mean((0, 2, 3), keepdims=True)) / np.sqrt(exact.var((0, 2, 3), keepdims=True) + 1e-5)
    # float32 holds the mean of 1000 to 3e-5, a hundred-thousandth of the spread of 3
    np.testing.assert_allclose(y, exact, atol=4e-5 if offset else 2e-6)
