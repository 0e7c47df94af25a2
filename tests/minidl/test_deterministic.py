"""`use_deterministic("batch")`: a sample has the same bits alone and in any batch, on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from benchmarks.networks import NETWORKS
from minidl.device import numba_status
from minidl.errors import ArgumentError

pytestmark = pytest.mark.skipif(not numba_status(), reason="Numba is not installed")

SMALL = [n.smaller() for n in NETWORKS if n.name in ("small_cnn", "mlp", "lstm", "gru", "transformer", "dilated")]


@pytest.fixture(autouse=True)
def batch_invariant():
    minidl.use_deterministic("batch")
    yield
    minidl.use_deterministic("threads")


@pytest.mark.parametrize("network", SMALL, ids=lambda n: n.name)
def test_a_sample_alone_and_in_a_batch(network) -> None:
    minidl.manual_seed(0)
    model = network.build(minidl).eval()
    x = network.draw()[0]
    axis = int(network.sequence)
    with minidl.no_grad():
        whole = model(minidl.tensor(x)).numpy()
        for count in (1, 3):
            part = model(minidl.tensor(np.ascontiguousarray(x.take(range(1, 1 + count), axis)))).numpy()
            np.testing.assert_array_equal(part, whole[1 : 1 + count])


@pytest.mark.parametrize("shape", [(7, 5, 3), (40, 300, 17), (100, 64, 530)])
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_of_whole_numbers_are_exact(shape, turned, dtype) -> None:
    rows, steps, columns = shape
    rng = np.random.default_rng(0)
    x, y = (rng.integers(-4, 5, s).astype(dtype) for s in ((2, rows, steps), (2, steps, columns)))
    given = [np.ascontiguousarray(a.mT).mT if turn else a for a, turn in zip((x, y), turned, strict=True)]
    found = minidl.matmul(*[minidl.as_tensor(a) for a in given])
    np.testing.assert_array_equal(found.numpy(), x @ y)


def test_products_have_the_same_bits_on_any_number_of_threads() -> None:
    rng = np.random.default_rng(1)
    x, weight, bias = (minidl.tensor(rng.standard_normal(s, np.float32)) for s in ((333, 700), (290, 700), (290,)))
    before = minidl.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3, 7, 16):
            minidl.set_num_threads(threads)
            found.append(minidl.nn.functional.linear(x, weight, bias).numpy())
    finally:
        minidl.set_num_threads(before)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)
    exact = x.numpy().astype(np.float64) @ weight.numpy().T.astype(np.float64) + bias.numpy()
    # 700 roundings of partial sums of up to 26, 3e-8 each: 2e-5, and the largest of 97,000 errors is 4.5 times as large
    np.testing.assert_allclose(found[0], exact, rtol=0, atol=2e-4)


def test_an_unknown_mode_is_named() -> None:
    with pytest.raises(ArgumentError, match="mode must be 'threads' or 'batch', got 'always'"):
        minidl.use_deterministic("always")
