"""Products on our own kernels: exact on whole numbers for every form, and the same bits on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl.device import get_num_threads, numba_status, pointers, set_num_threads
from minidl.ops.matmul import cpu
from minidl.ops.matmul.cpu import accumulate, bound_product, product
from minidl.ops.matmul.finish import ACTIVATIONS, NONE, RELU

pytestmark = pytest.mark.skipif(not numba_status(), reason="Numba is not installed")

# Cut into blocks, small, of few rows, of one number, with sums of several pieces and of none, that are cut themselves.
SHAPES = [(200, 40, 500), (30, 7, 33), (3, 300, 70), (1, 700, 12), (1, 1, 1), (97, 600, 31), (5, 0, 4), (21, 2100, 43)]


def draw(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("batch", [(), (3, 2), (40,)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_whole_numbers_equal_numpys(shape, turned, batch, dtype) -> None:
    rows, steps, columns = shape
    x, y = draw((*batch, rows, steps), dtype), draw((*batch, steps, columns), dtype, 1)
    x, y = (np.ascontiguousarray(a.mT).mT if turn else a for a, turn in zip((x, y), turned, strict=True))
    bias, out, kept = draw(columns, dtype, 2), np.full((*batch, rows, columns), np.nan, dtype), np.empty(1)
    product(out, x, y)
    np.testing.assert_array_equal(out, x @ y)
    kept = np.full_like(out, np.nan)
    product(out, x, y, bias, RELU, kept)
    np.testing.assert_array_equal(kept, x @ y + bias)
    np.testing.assert_array_equal(out, np.maximum(x @ y + bias, 0))


@pytest.mark.parametrize("shape", [*SHAPES, (12, 64, 10)])
@pytest.mark.parametrize("turned", [False, True])
def test_a_product_is_added_to_what_is_there(shape, turned) -> None:
    rows, steps, columns = shape
    x, y, out = draw((steps, rows)).T if turned else draw((rows, steps)), draw((steps, columns)), draw((rows, columns))
    expected = out + x @ y
    accumulate(out, x, y)
    np.testing.assert_array_equal(out, expected)


def test_operands_and_results_may_be_views() -> None:
    heads = draw((4, 50, 3, 2, 24)).transpose(2, 0, 3, 1, 4)  # (3, 4, 2, 50, 24), as attention cuts them
    out = np.full((4, 60, 2, 50), np.nan, np.float32).transpose(0, 2, 1, 3)[:, :, :50]
    product(out, heads[0], heads[1].mT)
    np.testing.assert_array_equal(out, heads[0] @ heads[1].mT)
    turned = np.full((4, 2, 50, 50), np.nan, np.float32).mT  # rows do not lie in one piece
    product(turned, heads[0], heads[1].mT)
    np.testing.assert_array_equal(turned, out)
    one = draw((50, 24))[:, ::2]
    broadcast = np.full((4, 2, 50, 50), np.nan, np.float32)
    product(broadcast, heads[0][..., ::2], one.mT)
    np.testing.assert_array_equal(broadcast, heads[0][..., ::2] @ one.mT)


@pytest.mark.parametrize(
    ("shape", "batch"), [((300, 500, 200), ()), ((1, 400, 900), ()), ((60, 40, 50), (30,)), ((20, 5000, 40), ())]
)
def test_bits_do_not_depend_on_the_number_of_threads(shape, batch) -> None:
    rows, steps, columns = shape
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((*batch, rows, steps), np.float32), rng.standard_normal((columns, steps), np.float32)
    before, found = get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7, 16):
            set_num_threads(threads)
            for _ in range(2):  # the second call knows how long it takes, and asks for help or not
                found.append(np.empty((*batch, rows, columns), np.float32))
                product(found[-1], x, y.T)
    finally:
        set_num_threads(before)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


@pytest.mark.parametrize("activation", ACTIVATIONS[1:])
@pytest.mark.parametrize("rows", [1, 37])
def test_an_activation_gives_what_its_op_gives(activation, rows) -> None:
    rng = np.random.default_rng(2)
    x, weight = (rng.standard_normal(s, np.float32) for s in ((rows, 300), (70, 300)))
    plain, joined = (np.empty((rows, 70), np.float32) for _ in range(2))
    product(plain, x, weight.T, activation=NONE)
    product(joined, x, weight.T, activation=ACTIVATIONS.index(activation))
    ops = {"gelu_tanh": lambda t: minidl.gelu(t, approximate="tanh")}
    alone = ops.get(activation, getattr(minidl, activation, None))
    # The same formula in another loop, where products may be fused with sums: a few units in the last place.
    np.testing.assert_allclose(joined, alone(minidl.tensor(plain)).numpy(), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("shape", [(200, 40, 500), (3, 300, 70), (21, 2100, 43)])
def test_something_is_added_before_the_activation(shape) -> None:
    rows, steps, columns = shape
    x, weight, bias = draw((rows, steps)), draw((columns, steps), seed=1), draw(columns, seed=2)
    added, out = draw((rows, columns), seed=3), np.full((rows, columns), np.nan, np.float32)
    product(out, x, weight.T, bias, RELU, added=added)
    np.testing.assert_array_equal(out, np.maximum(x @ weight.T + bias + added, 0))


def test_a_bound_product_takes_arrays_that_lie_alike() -> None:
    """A run knows nothing of numbers: bias and residual come and go, factors may have another shape."""
    x, y, bias, added = draw((2, 30, 7)), draw((7, 33)), draw(33, seed=2), draw((60, 33), seed=3)
    flat, out = x.reshape(60, 7), np.empty((60, 33), np.float32)
    run = bound_product(out, flat, np.ascontiguousarray(y.T).T, activation=RELU, is_added=True)
    for given in (bias, None):
        run(out, x, np.ascontiguousarray(y.T), given, None, added)
        expected = np.maximum(flat @ y + (0 if given is None else given) + added, 0)
        np.testing.assert_array_equal(out, expected)


def test_addresses_are_found_in_another_way_where_arrays_are_laid_out_otherwise(monkeypatch) -> None:
    x, y, out = draw((30, 7)), draw((7, 33), seed=1), np.empty((30, 33), np.float32)
    monkeypatch.setattr(cpu, "cell_of", pointers._place_of)
    cpu._bound.cache_clear()
    for _ in range(2):
        product(out, x, y)
        np.testing.assert_array_equal(out, x @ y)
    kept = len(pointers._places)
    del x, y, out
    assert kept >= 3
    assert len(pointers._places) == kept - 3
