"""What convolutions add to their results before they store them, and that they write nothing beside them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minidl.device import numba_status
from minidl.ops.conv import depthwise, im2col, implicit, implicit_weights
from minidl.ops.conv.epilogue import Epilogue

pytestmark = [pytest.mark.numba, pytest.mark.skipif(not numba_status(), reason="Numba is not installed")]

# image, filters, channels of a weight, kernel, stride, padding, dilation, groups
SHAPES = [
    ((2, 8, 9, 16), 24, 16, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((3, 7, 7, 20), 17, 20, (3, 3), (2, 2), (1, 1), (1, 1), 1),
    ((1, 6, 5, 4, 6), 10, 3, (3, 2, 3), (1, 2, 1), (1, 1, 1), (1, 1, 2), 2),
    ((2, 40, 5), 3, 5, (7,), (1,), (3,), (1,), 1),
    ((1, 4, 4, 1300), 20, 1300, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((2, 8, 9, 24), 24, 1, (3, 3), (1, 1), (1, 1), (1, 1), 24),
    ((2, 8, 9, 3), 3, 1, (5, 3), (2, 1), (2, 2), (1, 1), 3),
    ((1, 8, 9, 5), 10, 1, (3, 3), (1, 1), (1, 1), (2, 1), 5),
    ((2, 8, 9, 28), 28, 4, (3, 3), (1, 2), (1, 1), (1, 1), 7),
    ((2, 8, 9, 6), 6, 2, (3, 3), (1, 1), (1, 1), (1, 1), 3),
]


def whole(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def has_lanes(channels: int, filters: int, groups: int) -> bool:
    """Whether a convolution is one of small groups, for `depthwise`."""
    return channels == 1 or (groups > 1 and channels * groups == filters)


def guarded(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Fresh memory for a result, and the whole of which it is the middle: NaN all over."""
    room = np.full(math.prod(shape) + 200, np.nan, np.float32)
    return room[100:-100].reshape(shape), room


def first(images: np.ndarray) -> np.ndarray:
    return np.moveaxis(images, -1, 1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bias_residual_and_relu_are_as_one_after_the_other(shape) -> None:
    image, filters, channels, kernel, stride, padding, dilation, groups = shape
    x, weight, bias = whole(*image, seed=0), whole(filters, channels, *kernel, seed=1), whole(filters, seed=2)
    spans = zip(image[1:-1], kernel, stride, padding, dilation, strict=True)
    windows = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in spans]
    plain = np.empty((image[0], filters, *windows), np.float32)
    im2col.convolve(np, plain, first(x), weight, stride, padding, dilation, groups)
    plain = np.moveaxis(plain, 1, -1)
    residual = whole(*plain.shape, seed=3)
    is_small = has_lanes(channels, filters, groups)
    bind = depthwise.forward if is_small else lambda *args: implicit.forward(*args, groups)
    for activation, given, wanted in [
        ("none", (None, None), plain),
        ("none", (bias, None), plain + bias),
        ("relu", (bias, None), np.maximum(plain + bias, 0)),
        ("none", (None, residual), plain + residual),
        ("relu", (bias, residual), np.maximum(plain + bias + residual, 0)),
    ]:
        out, room = guarded(*plain.shape)
        epilogue = Epilogue(activation, given[1] is not None)
        bind(out, x, weight, epilogue, stride, padding, dilation)(out, x, weight, *given)
        np.testing.assert_array_equal(out, wanted)
        assert np.isnan(room[:100]).all()
        assert np.isnan(room[-100:]).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_write_nothing_beside_them(shape) -> None:
    image, filters, channels, kernel, stride, padding, dilation, groups = shape
    spans = zip(image[1:-1], kernel, stride, padding, dilation, strict=True)
    windows = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in spans]
    x, weight, g = (
        whole(*image, seed=0),
        whole(filters, channels, *kernel, seed=1),
        whole(image[0], *windows, filters, seed=2),
    )
    steps = (stride, padding, dilation)
    plain = np.empty_like(first(x), order="C")
    im2col.convolve_back(np, plain, first(g), weight, *steps, groups)
    plain, bias = np.moveaxis(plain, 1, -1), whole(image[-1], seed=3)
    bind = (
        depthwise.backward if has_lanes(channels, filters, groups) else lambda *args: implicit.backward(*args, groups)
    )
    for activation, lift, wanted in [("none", None, plain), ("relu", bias, np.maximum(plain + bias, 0))]:
        out, room = guarded(*image)
        bind(out, g, weight, Epilogue(activation), *steps)(out, g, weight, lift)
        np.testing.assert_array_equal(out, wanted)
        assert np.isnan(room[:100]).all()
        assert np.isnan(room[-100:]).all()
    slopes, around = guarded(*weight.shape)
    sums = np.empty_like(weight)
    im2col.weight_gradient(np, sums, first(x), first(g), *steps, groups)
    if has_lanes(channels, filters, groups):
        depthwise.weight_gradient(slopes, x, g, *steps)(slopes, x, g)
    else:
        implicit_weights.weight_gradient(slopes, x, g, *steps, groups)(slopes, x, g)
    np.testing.assert_array_equal(slopes, sums)
    assert np.isnan(around[:100]).all()
    assert np.isnan(around[-100:]).all()


def test_a_relu_keeps_a_nan() -> None:
    x = np.zeros((1, 5, 5, 16), np.float32)
    x[0, 2, 2, 3] = np.nan
    for channels in (16, 1):
        out = np.empty((1, 3, 3, 16), np.float32)
        weight, steps = np.ones((16, channels, 3, 3), np.float32), ((1, 1), (0, 0), (1, 1))
        if channels == 1:
            depthwise.forward(out, x, weight, Epilogue("relu"), *steps)(out, x, weight)
            assert np.isnan(out[..., 3]).all()
            assert not np.isnan(np.delete(out, 3, -1)).any()
        else:
            implicit.forward(out, x, weight, Epilogue("relu"), *steps, 1)(out, x, weight)
            assert np.isnan(out).all()
