"""The optimizer steps: formula by formula in plain Python, kernel beside reference, bad input, nothing else changed."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minidl
from minidl import Tensor
from minidl.device import numba_status
from minidl.errors import DTypeError, ShapeError
from minidl.ops.adam_step import adam_step
from minidl.ops.sgd_step import sgd_step

SGD_ROWS = [
    {"lr": 0.1},
    {"lr": 0.1, "weight_decay": 0.3, "maximize": True},
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.3},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True},
]
ADAM_ROWS = [
    {"step": 1, "lr": 0.1},
    {"step": 7, "lr": 0.1, "weight_decay": 0.3, "maximize": True},
    {"step": 7, "lr": 0.1, "weight_decay": 0.3, "decoupled": True, "beta1": 0.5, "beta2": 0.6, "eps": 1e-3},
]


def tensors(count: int, dtype=np.float64, shape: tuple[int, ...] = (3, 5)) -> list[Tensor]:
    rng = np.random.default_rng(0)
    return [Tensor.of(rng.standard_normal(shape).astype(dtype)) for _ in range(count)]


def adam_state(dtype=np.float64, shape: tuple[int, ...] = (3, 5)) -> list[Tensor]:
    param, grad, mean, square, largest = tensors(5, dtype, shape)
    return [param, grad, mean, square * square, largest * largest]


def one_sgd(p, g, v, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False):
    g = (-g if maximize else g) + weight_decay * p
    v = momentum * v + (1 - dampening) * g
    return p - lr * (g + momentum * v if nesterov else v), v


def one_adam(
    p, g, m, s, top, step, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, decoupled=False, maximize=False
):
    g = -g if maximize else g
    if decoupled:
        p *= 1 - lr * weight_decay
    else:
        g += weight_decay * p
    m = beta1 * m + (1 - beta1) * g
    s = beta2 * s + (1 - beta2) * g**2
    top = s if top is None else max(top, s)
    return p - lr * m / (1 - beta1**step) / (math.sqrt(top / (1 - beta2**step)) + eps), m, s, top


@pytest.mark.parametrize("numba", [True, False])
@pytest.mark.parametrize("options", SGD_ROWS, ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sgd_by_the_formula(options: dict, numba: bool, dtype) -> None:
    param, grad, velocity = tensors(3, dtype)
    wanted = [
        one_sgd(*map(float, values), **options)
        for values in zip(*(t.array.flat for t in (param, grad, velocity)), strict=True)
    ]
    with minidl.use_numba(numba):
        sgd_step(param, grad, velocity, **options)
    rtol = 1e-12 if dtype == np.float64 else 1e-5
    for t, values in zip((param, velocity), zip(*wanted, strict=True), strict=True):
        np.testing.assert_allclose(t.array.ravel(), values, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("numba", [True, False])
@pytest.mark.parametrize("options", SGD_ROWS[:2], ids=str)
def test_sgd_without_velocity_by_the_formula(options: dict, numba: bool) -> None:
    param, grad = tensors(2)
    wanted = [
        one_sgd(float(p), float(g), 0.0, **options)[0] for p, g in zip(param.array.flat, grad.array.flat, strict=True)
    ]
    with minidl.use_numba(numba):
        sgd_step(param, grad, **options)
    np.testing.assert_allclose(param.array.ravel(), wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("numba", [True, False])
@pytest.mark.parametrize("amsgrad", [True, False])
@pytest.mark.parametrize("options", ADAM_ROWS, ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_adam_by_the_formula(options: dict, amsgrad: bool, numba: bool, dtype) -> None:
    state = adam_state(dtype)[: 5 if amsgrad else 4]
    rows = zip(*(t.array.flat for t in state), strict=True)
    wanted = [one_adam(*map(float, values), *([] if amsgrad else [None]), **options) for values in rows]
    with minidl.use_numba(numba):
        adam_step(*state, **options)
    rtol = 1e-12 if dtype == np.float64 else 1e-5
    for t, values in zip([state[0], *state[2:]], zip(*wanted, strict=True), strict=False):
        np.testing.assert_allclose(t.array.ravel(), values, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("shape", [(), (0, 3), (70_001,)])
def test_any_shape_will_do(shape: tuple[int, ...]) -> None:
    """The kernel cuts the last one into blocks; float32, so kernel and reference differ in the last bits."""
    fast, slow = adam_state(np.float32, shape), adam_state(np.float32, shape)
    adam_step(*fast, step=2, lr=0.1)
    with minidl.use_numba(False):
        adam_step(*slow, step=2, lr=0.1)
    for a, b in zip(fast, slow, strict=True):
        np.testing.assert_allclose(a.array, b.array, rtol=2e-6, atol=1e-6)


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    if not numba_status():
        pytest.skip("Numba is not installed")
    results, before = [], minidl.get_num_threads()
    try:
        for threads in (1, 2, 3):
            minidl.set_num_threads(threads)
            state = adam_state(np.float32, (100_001,))
            adam_step(*state[:4], step=2, lr=0.1)
            results.append(state[0].array)
    finally:
        minidl.set_num_threads(before)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize("numba", [True, False])
def test_the_gradient_is_unchanged_and_nan_stays_nan(numba: bool) -> None:
    state = adam_state()
    state[1].array[0, 0] = math.nan
    before = state[1].array.copy()
    with minidl.use_numba(numba):
        adam_step(*state, step=1)
    np.testing.assert_array_equal(state[1].array, before)
    assert all(math.isnan(t.array[0, 0]) for t in state)
    assert not any(math.isnan(t.array[0, 1]) for t in state)


def test_strides_do_not_matter() -> None:
    straight, strided = adam_state(), adam_state()
    for t in strided[1:]:
        t.array = np.asfortranarray(t.array)
    strided[0].array = np.flip(np.flip(strided[0].array).copy())
    adam_step(*straight, step=1)
    adam_step(*strided, step=1)
    np.testing.assert_allclose(strided[0].array, straight[0].array, rtol=1e-12)


def test_what_does_not_fit_is_named() -> None:
    param, grad = tensors(2)
    with pytest.raises(ShapeError, match=r"sgd_step: grad must have the shape of param, \(3, 5\), got \(2,\)"):
        sgd_step(param, minidl.zeros(2), lr=0.1)
    with pytest.raises(DTypeError, match="adam_step: square must have the type of param, float64, got float32"):
        adam_step(param, grad, grad, minidl.zeros(3, 5), step=1)
