"""The compiled kernels against the references: every row of the table, odd sizes, and any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl.core import deferring
from minidl.device import numba_status
from minidl.ops.region_sums import region_sums
from minidl.testing import Case, check_empty, check_layouts, check_memory, check_purity, check_saved
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


def across(x):
    """The same numbers, channels-last in memory."""
    return minidl.Tensor.of(np.ascontiguousarray(x.array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2))


def norm_of(x):
    return minidl.batch_norm(x, None, None, training=True)


def at_rest(x):
    return minidl.batch_norm(x, minidl.zeros(x.shape[1], dtype=x.dtype), minidl.ones(x.shape[1], dtype=x.dtype) * 2)


def in_one(call):
    """`call` as a module makes it: what can run as one op does."""

    def fused(x):
        with deferring():
            return call(x)

    return fused


def classes_of(x):
    """A class for each place, every ninth of them ignored."""
    places = np.arange(x.numel() // x.shape[1]).reshape(x.shape[0], *x.shape[2:])
    return minidl.tensor(np.where(places % 9 == 0, -100, places % x.shape[1]))


EXACT = {
    "relu": minidl.relu,
    "leaky_relu": lambda x: minidl.leaky_relu(x, 0.25),
    "clamp": lambda x: minidl.clamp(x, -3, 2),
    "hardshrink": lambda x: minidl.hardshrink(x, 2.0),
    "softshrink": lambda x: minidl.softshrink(x, 2.0),
    "threshold": lambda x: minidl.threshold(x, 1.0, 5.0),
    "square": minidl.square,
    "add": lambda x: x + x,
    "mul a channel": lambda x: x * minidl.arange(1, x.shape[1] + 1, dtype=x.dtype).reshape(1, -1, 1, 1),
    "sub a row": lambda x: x - minidl.arange(x.shape[3], dtype=x.dtype),
    "max_pool2d": lambda x: minidl.max_pool2d(x, 3, 2, 1),
    "avg_pool2d": lambda x: minidl.avg_pool2d(x, 2, divisor_override=4),
    "sum of all": lambda x: x.sum(),
    "sum of channels": lambda x: x.sum((0, 2, 3)),
    "sum of space": lambda x: x.sum((2, 3)),
    "sum over channels": lambda x: x.sum(1),
    "sum over rows": lambda x: x.sum(2),
    "amax of all": lambda x: x.amax(),
    "amin of channels": lambda x: x.amin((0, 2, 3)),
    "amax of space": lambda x: x.amax((2, 3)),
    "amin over channels": lambda x: x.amin(1),
    "amax over rows": lambda x: x.amax(2),
    "sums of regions": lambda x: minidl.stack(region_sums(x, minidl.clamp(classes_of(x), min=0), True)[:2], 0),
    "nll": lambda x: minidl.nll_loss(x, classes_of(x), minidl.arange(x.shape[1], dtype=x.dtype), reduction="sum"),
    "nll of places": lambda x: minidl.nll_loss(x, classes_of(x), reduction="none"),
    "cat": lambda x: minidl.cat([x, x * 2, x], 1),
    "nearest": lambda x: minidl.interpolate(x, scale_factor=2),
    "bilinear": lambda x: minidl.interpolate(x, scale_factor=2, mode="bilinear") * 16,
}
ROUNDED = {
    "batch_norm": norm_of,
    "batch_norm and relu": in_one(lambda x: minidl.relu(norm_of(x))),
    "batch_norm, residual and relu": in_one(lambda x: minidl.relu(norm_of(x) + x)),
    "batch_norm at rest": in_one(lambda x: minidl.relu(at_rest(x) + x)),
    "layer_norm": lambda x: minidl.layer_norm(x, x.shape[3:]),
    "layer_norm of an image": lambda x: minidl.layer_norm(x, x.shape[1:]),
    "normalize": lambda x: minidl.normalize(x, dim=3),
    "normalize channels": lambda x: minidl.normalize(x, dim=1),
    "cosine_similarity": lambda x: minidl.cosine_similarity(x, x.flip(3), dim=3),
    "pairwise_distance": lambda x: minidl.pairwise_distance(x, x.flip(3) * 2),
    "rms_norm": lambda x: minidl.rms_norm(x, x.shape[3:]),
    "rms_norm of an image": lambda x: minidl.rms_norm(x, x.shape[1:], minidl.cos(minidl.ones_like(x[0]).cumsum(2))),
    "group_norm": lambda x: minidl.group_norm(x, x.shape[1]),
    "softmax of channels": lambda x: minidl.softmax(x, 1),
    "softmax of rows": lambda x: minidl.softmax(x, 3),
    "log_softmax of channels": lambda x: minidl.log_softmax(x, 1),
    "log_softmax of columns": lambda x: minidl.log_softmax(x, 2),
    "cross_entropy": lambda x: minidl.cross_entropy(x, classes_of(x)),
    "cross_entropy of places": lambda x: minidl.cross_entropy(x, classes_of(x), reduction="none", label_smoothing=0.1),
    "cross_entropy by weights": lambda x: minidl.cross_entropy(
        x, classes_of(x), minidl.arange(1, x.shape[1] + 1, dtype=x.dtype), label_smoothing=0.2
    ),
    "gelu": minidl.gelu,
    "gelu by tanh": lambda x: minidl.gelu(x, approximate="tanh"),
    "silu": minidl.silu,
    "elu": minidl.elu,
    "selu": minidl.selu,
    "mish": minidl.mish,
    "softsign": minidl.softsign,
    "tanhshrink": minidl.tanhshrink,
    "softplus": lambda x: minidl.softplus(x, 2.0, 3.0),
    "log": lambda x: minidl.log(x * x + 0.1),
    "mean": lambda x: x.mean((0, 2, 3)),
    "cosine": lambda x: minidl.cosine_similarity(x, x.flip(0) + 0.5, 3),
    "cosine of channels": lambda x: minidl.cosine_similarity(x, x.flip(3) + 0.5),
    "bicubic": lambda x: minidl.interpolate(x, scale_factor=1.7, mode="bicubic"),
    "trilinear": lambda x: minidl.interpolate(x.unsqueeze(0), size=(7, 9, 11), mode="trilinear"),
    "dropout": lambda x: minidl.dropout_by_key(x, minidl.tensor(np.array([3, 4], np.uint64)), 0.3),
}
each_layout = pytest.mark.parametrize("lay", [lambda x: x, across], ids=["channels first", "channels last"])


@each_layout
@pytest.mark.parametrize("call", EXACT.values(), ids=EXACT)
@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (3, 5, 18, 20), (2, 33, 16, 40)], ids=str)
def test_integers_are_exact(call, shape, lay) -> None:
    """Whole numbers need no rounding, so all kernels must agree to the last bit, in both layouts."""
    x = minidl.tensor(np.random.default_rng(1).integers(-8, 8, shape).astype(np.float32))
    compiled = whole_gradients(call, lay(x))
    with minidl.use_numba(False):
        reference = whole_gradients(call, x)
    for ours, plain in zip(compiled, reference, strict=True):
        np.testing.assert_array_equal(ours, plain)


def whole_gradients(call, x):
    leaf = x.detach().requires_grad_()
    result = call(leaf)
    weights = (np.arange(result.numel(), dtype=np.float32) % 7 - 3).reshape(result.shape) * 64
    result.backward(minidl.tensor(weights))
    return [result.detach().numpy(), leaf.grad.numpy()]


@each_layout
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("call", ROUNDED.values(), ids=ROUNDED)
def test_rounded_results_agree_with_the_reference(call, dtype, lay) -> None:
    """3e-6 of the largest value in float32 and 1e-13 in float64: a few roundings, and sums in another order."""
    x = minidl.tensor(np.random.default_rng(4).standard_normal((3, 6, 41, 37)).astype(dtype) * 3)
    compiled = gradients(call, [lay(x)])
    with minidl.use_numba(False):
        plain = gradients(call, [x])
    for ours, reference in zip(compiled, plain, strict=True):
        bound = (3e-6 if dtype == np.float32 else 1e-13) * max(np.abs(reference).max(), 1)
        np.testing.assert_allclose(ours, reference, rtol=0, atol=bound)


@pytest.mark.parametrize("check", [check_purity, check_memory, check_saved, check_empty, check_layouts])
@pytest.mark.parametrize("call", (EXACT | ROUNDED).values(), ids=EXACT | ROUNDED)
def test_images_pass_the_checks_of_the_table(call, check) -> None:
    """The rows of the table are small; images of these sizes reach the vectors, the tiles and the blocks."""
    check(call, minidl.tensor(np.random.default_rng(6).standard_normal((3, 17, 16, 24))))


@each_layout
@pytest.mark.parametrize("call", (EXACT | ROUNDED).values(), ids=EXACT | ROUNDED)
def test_bits_do_not_depend_on_the_number_of_threads(call, lay) -> None:
    x = lay(minidl.tensor(np.random.default_rng(2).standard_normal((5, 19, 23, 29)).astype(np.float32)))
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


@pytest.mark.parametrize("dims", [None, (0, 2, 3), (2, 3), 1, 2, 3], ids=str)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@each_layout
def test_extremes_keep_nan_and_infinity(bad, dims, lay) -> None:
    x = np.random.default_rng(7).standard_normal((2, 33, 16, 41)).astype(np.float32)
    x[1, 20, 9, 40] = x[0, 0, 0, 0] = bad
    axis = dims if dims is None else tuple(np.atleast_1d(dims))
    for function, wanted in ((minidl.amax, np.amax), (minidl.amin, np.amin)):
        np.testing.assert_array_equal(function(lay(minidl.tensor(x)), dims).array, wanted(x, axis=axis))


ORDERS = {
    "pixels and channels exchanged": ((3, 20, 17, 18), (0, 2, 3, 1)),
    "channels-last seen as such": ((3, 17, 18, 20), (0, 3, 1, 2)),
    "steps and sequences exchanged": ((40, 30, 20), (1, 0, 2)),
    "a transposed matrix": ((110, 120), (1, 0)),
    "heads": ((4, 40, 8, 10), (0, 2, 1, 3)),
    "volumes": ((2, 7, 11, 13, 9), (0, 4, 1, 2, 3)),
}


@pytest.mark.parametrize(("shape", "order"), ORDERS.values(), ids=ORDERS)
def test_elementwise_results_lie_as_what_they_are_made_of(shape, order) -> None:
    x = np.random.default_rng(6).standard_normal(shape).astype(np.float32).transpose(order)
    row = np.arange(x.shape[-1], dtype=np.float32)
    given = minidl.Tensor.of(x)
    for result, wanted in [
        (given - minidl.tensor(row), x - row),
        (given * given, x * x),
        (minidl.relu(given).clone(), np.maximum(x, 0)),
        (given + minidl.tensor(x), x + x),
    ]:
        assert result.array.strides == x.strides
        np.testing.assert_array_equal(result.array, wanted)
    assert given.contiguous().is_contiguous()
    np.testing.assert_array_equal(given.contiguous().array, x)
