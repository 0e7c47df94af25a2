"""Products on our threads: equal to NumPy's for every form, and with the same bits on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from minidl.device import get_num_threads, set_num_threads
from minidl.device.blas import _openblas, one_thread, product


@pytest.mark.parametrize("shape", [(200, 90, 40), (30, 500, 70), (3, 1000, 400), (1, 7, 1)])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("batch", [(), (3, 2)])
def test_whole_numbers_equal_numpys(shape, turned, batch) -> None:
    rows, columns, steps = shape
    rng = np.random.default_rng(0)
    x, y = (rng.integers(-4, 5, (*batch, *s)).astype(np.float32) for s in ((rows, steps), (steps, columns)))
    bias = rng.integers(-4, 5, columns).astype(np.float32)
    if turned:
        x, y = (np.ascontiguousarray(a.mT).mT for a in (x, y))
    out = np.full((*batch, rows, columns), np.nan, np.float32)
    product(out, x, y, bias)
    np.testing.assert_array_equal(out, x @ y + bias)


@pytest.mark.parametrize("shape", [(300, 200, 500), (10, 900, 300)])
def test_bits_do_not_depend_on_the_number_of_threads(shape) -> None:
    rows, columns, steps = shape
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((rows, steps), np.float32), rng.standard_normal((steps, columns), np.float32)
    before, found = get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7, 16):
            set_num_threads(threads)
            found.append(np.empty((rows, columns), np.float32))
            product(found[-1], x, y)
    finally:
        set_num_threads(before)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_openblas_gets_its_threads_back() -> None:
    functions = _openblas()
    if functions is None:
        return  # another BLAS, which is left alone
    get, _ = functions
    before = get()
    with one_thread():
        assert get() == 1
    assert get() == before
