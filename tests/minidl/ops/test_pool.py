"""Pooling beyond the table and PyTorch's values: both kernels of max_pool2d, ties, NaN, wrong calls."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest

import minidl
from minidl.errors import DTypeError, ShapeError
from minidl.testing import check_gradient

each_way = pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "reference"])
OPTIONS = [
    {"kernel_size": k, "stride": s, "padding": p, "dilation": d, "ceil_mode": c}
    for k, s, p, d, c in [
        (2, None, 0, 1, False), (3, 2, 1, 1, False), (3, 1, 1, 1, False), ((2, 3), (3, 1), (1, 0), (1, 2), False),
        (3, 2, 0, 1, True), ((2, 3), 4, 1, 1, True), (3, 3, 2, 2, True), ((1, 5), 1, (0, 2), 1, False),
    ]
]  # fmt: skip


def by_loops(x: np.ndarray, *, kernel_size, stride, padding, dilation, ceil_mode) -> tuple[np.ndarray, np.ndarray]:
    """Values and places of max_pool2d by its definition, a window at a time."""
    pairs = [(v, v) if isinstance(v, int) else v for v in (kernel_size, stride or kernel_size, padding, dilation)]
    kernel, stride, padding, dilation = pairs
    starts = [
        [i for i in range(-p, n + p, s)
         if i + d * (k - 1) < n + p or (ceil_mode and i < n and i - s + d * (k - 1) + 1 < n + p)]
        for n, k, s, p, d in zip(x.shape[2:], *pairs, strict=True)
    ]  # fmt: skip
    shape = (*x.shape[:2], *map(len, starts))
    values, places = np.empty(shape, x.dtype), np.empty(shape, np.int64)
    for (r, i), (q, j) in itertools.product(*map(enumerate, starts)):
        rows = [a for a in range(i, i + dilation[0] * kernel[0], dilation[0]) if 0 <= a < x.shape[2]]
        columns = [b for b in range(j, j + dilation[1] * kernel[1], dilation[1]) if 0 <= b < x.shape[3]]
        window = x[:, :, rows][:, :, :, columns].reshape(*x.shape[:2], -1)
        best = window.argmax(2)
        values[:, :, r, q] = window.max(2)
        places[:, :, r, q] = np.add.outer(np.array(rows) * x.shape[3], columns).ravel()[best]
    return values, places


@each_way
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_max_pool2d_follows_its_definition(options, dtype, compiled: bool) -> None:
    """Few different whole numbers, so that most windows hold ties: the first of equals is the place."""
    x = np.random.default_rng(0).integers(-3, 3, (2, 3, 9, 8)).astype(dtype)
    with minidl.use_numba(compiled):
        values, places = minidl.max_pool2d(minidl.tensor(x), return_indices=True, **options)
    wanted, wanted_places = by_loops(x, **options)
    np.testing.assert_array_equal(values.numpy(), wanted)
    np.testing.assert_array_equal(places.numpy(), wanted_places)


@each_way
def test_gradients_of_windows_that_share_a_pixel_add_up(compiled: bool) -> None:
    x = minidl.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 1.0
    with minidl.use_numba(compiled):
        minidl.max_pool2d(x.requires_grad_(), 3, 1).sum().backward()
    wanted = np.zeros((5, 5), np.float32)
    wanted[2, 2] = 9
    np.testing.assert_array_equal(x.grad.numpy()[0, 0], wanted)


@each_way
@pytest.mark.parametrize("low", [-np.inf, np.finfo(np.float32).min])
def test_the_smallest_numbers_still_beat_the_padding(low: float, compiled: bool) -> None:
    x = minidl.full((1, 1, 2, 2), low)
    with minidl.use_numba(compiled):
        values, places = minidl.max_pool2d(x, 2, 2, 1, return_indices=True)
    np.testing.assert_array_equal(values.numpy(), np.full((1, 1, 2, 2), low, np.float32))
    np.testing.assert_array_equal(places.numpy().ravel(), [0, 1, 2, 3])


@each_way
def test_nan_wins_its_windows_and_takes_their_gradient(compiled: bool) -> None:
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    x[0, 0, 0, 1] = np.nan
    leaf = minidl.tensor(x, requires_grad=True)
    with minidl.use_numba(compiled):
        y = minidl.max_pool2d(leaf, 2)
        y.sum().backward()
    np.testing.assert_array_equal(np.isnan(y.detach().numpy().ravel()), [True, False, False, False])
    np.testing.assert_array_equal(np.flatnonzero(leaf.grad.numpy()), [1, 7, 13, 15])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_second_derivatives_match_richardson_differences(options) -> None:
    rng = np.random.default_rng(0)
    x = minidl.tensor(rng.permutation(2 * 9 * 8).reshape(1, 2, 9, 8) / 40)  # no two values nearer than the steps
    check_gradient(partial(minidl.max_pool2d, **options), x, order=2)
    mean = {k: v for k, v in options.items() if k != "dilation"}
    if 2 * np.max(mean["padding"]) <= np.min(mean["kernel_size"]):
        check_gradient(partial(minidl.avg_pool2d, count_include_pad=False, **mean), x, order=2)


@pytest.mark.numba
@pytest.mark.parametrize("channels", [1, 3, 8, 19])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_compiled_kernels_equal_their_reference(options, channels: int) -> None:
    """Whole numbers, so that sums are exact; more channels than a vector holds, fewer, and both."""
    rng = np.random.default_rng(0)
    x = rng.integers(-4, 5, (2, channels, 13, 11)).astype(np.float32)
    calls = [partial(minidl.max_pool2d, **options)]
    mean = {k: v for k, v in options.items() if k != "dilation"} | {"divisor_override": 4}
    if 2 * np.max(mean["padding"]) <= np.min(mean["kernel_size"]):
        calls.append(partial(minidl.avg_pool2d, **mean))
    for call in calls:
        found = []
        for compiled in (True, False):
            leaf = minidl.tensor(x, requires_grad=True)
            with minidl.use_numba(compiled):
                y = call(leaf)
                y.backward(minidl.tensor(np.arange(y.numel(), dtype=np.float32).reshape(y.shape) % 7 * 4))
            found.append((y.detach().numpy(), leaf.grad.numpy()))
        np.testing.assert_array_equal(found[0][0], found[1][0])
        np.testing.assert_array_equal(found[0][1], found[1][1])


@each_way
def test_an_empty_batch_gives_empty_results(compiled: bool) -> None:
    x = minidl.zeros(0, 3, 6, 4).requires_grad_()
    with minidl.use_numba(compiled):
        for y in (minidl.max_pool2d(x, 2), minidl.avg_pool2d(x, 2), minidl.adaptive_avg_pool2d(x, (3, 2))):
            y.sum().backward()
            assert (y.shape, x.grad.shape) == ((0, 3, 3, 2), x.shape)


@pytest.mark.parametrize("kernel", [2, 3, (1, 4)])
@pytest.mark.parametrize("padding", [0, (1, 0)])
@pytest.mark.parametrize("ceil_mode", [True, False])
def test_the_mean_of_a_constant_is_the_constant_if_padding_does_not_count(kernel, padding, ceil_mode) -> None:
    if padding != 0 and kernel == (1, 4):
        padding = (0, 2)
    y = minidl.avg_pool2d(minidl.full((1, 2, 7, 6), 3.0), kernel, 2, padding, ceil_mode, count_include_pad=False)
    np.testing.assert_array_equal(y.numpy(), np.full(y.shape, 3.0, np.float32))


@pytest.mark.parametrize("size", [1, 2, 3, 5, (7, 6), (9, 2), (None, 1)])
def test_adaptive_means_keep_whole_numbers_whole_where_windows_are_equal(size) -> None:
    """Of the constant 12, in any windows; and the mean of the means is the mean where the windows are equally long."""
    x = minidl.full((2, 3, 12, 10), 12.0)
    np.testing.assert_allclose(minidl.adaptive_avg_pool2d(x, size).numpy(), 12.0, rtol=1e-6)
    ramp = minidl.arange(120, dtype=np.float32).reshape(1, 1, 12, 10)
    assert minidl.adaptive_avg_pool2d(ramp, (3, 5)).mean().item() == 59.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: minidl.max_pool2d(x, 0), "max_pool2d: kernel_size must be a whole number from 1 up, or 2 .*, got 0"),
        (lambda x: minidl.max_pool2d(x, 2.5), "max_pool2d: kernel_size .* got 2.5"),
        (lambda x: minidl.max_pool2d(x, 2, 0), "max_pool2d: stride must be .* got 0"),
        (lambda x: minidl.max_pool2d(x, 2, 1, 2), r"max_pool2d: padding \(2, 2\) must be at most half of kernel_size"),
        (lambda x: minidl.max_pool2d(x, 7), "max_pool2d: a kernel of 7 x 7 .* does not fit into an image of 6 x 5"),
        (lambda x: minidl.max_pool2d(x[0, 0], 2), r"max_pool2d: input must be \(N, C, H, W\), got \(6, 5\)"),
        (lambda x: minidl.max_pool2d(x[:, :, :2, :2], 2, 1, 1, 3), "max_pool2d: .* a window sees no pixel of"),
        (lambda x: minidl.avg_pool2d(x, (1, 2, 3)), r"avg_pool2d: kernel_size .* got \(1, 2, 3\)"),
        (lambda x: minidl.avg_pool2d(x, 2, 1, 2), r"avg_pool2d: padding \(2, 2\) must be at most half"),
        (lambda x: minidl.avg_pool2d(x, 2, divisor_override=0), "avg_pool2d: divisor_override must not be 0"),
        (lambda x: minidl.adaptive_avg_pool2d(x, 0), "adaptive_avg_pool2d: output_size must be .* got 0"),
        (lambda x: minidl.adaptive_avg_pool2d(x, (1, 2, 3)), r"adaptive_avg_pool2d: output_size .* got \(1, 2, 3\)"),
        (lambda x: minidl.adaptive_avg_pool2d(x[0, 0], 2), r"adaptive_avg_pool2d: input must be \(N, C, H, W\)"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_named(call, message: str) -> None:
    with pytest.raises(ShapeError, match=f"^{message}"):
        call(minidl.ones(1, 1, 6, 5))


@pytest.mark.parametrize("name", ["avg_pool2d", "adaptive_avg_pool2d"])
def test_means_of_whole_numbers_are_refused(name: str) -> None:
    with pytest.raises(DTypeError, match=rf"{name}: input must be floating, got int64; use input.float\(\)"):
        getattr(minidl, name)(minidl.ones(1, 1, 4, 4, dtype=np.int64), 2)
