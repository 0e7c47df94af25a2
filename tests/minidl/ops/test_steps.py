"""The optimizer steps: formula by formula in plain Python, kernel beside reference, bad input, nothing else changed."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minidl
from minidl import Tensor
from minidl.core import launching
from minidl.device import numba_status, pointers
from minidl.errors import DTypeError, ShapeError
from minidl.ops.adam_step import adam_step
from minidl.ops.many import sums_of_squares
from minidl.ops.sgd_step import sgd_step
from minidl.ops.step import Step

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


# What `coefficients` of each row takes.
DECAY = {"weight_decay": 0.1, "maximize": True}
BETAS = {"step": 3, "lr": 0.1, "beta1": 0.8, "beta2": 0.9, "eps": 1e-3, **DECAY}
RMS = {"lr": 0.1, "alpha": 0.8, "eps": 1e-3, **DECAY}
SETTINGS = {
    "sgd_step": {"lr": 0.1, **DECAY},
    "sgd_momentum_step": {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "nesterov": True, **DECAY},
    "adam_step": {**BETAS, "decoupled": True},
    "amsgrad_step": {**BETAS, "decoupled": False},
    "adafactor_step": {"share": 0.3, "floor": 1e-3},
    "asgd_step": {"eta": 0.1, "mu": 0.5, "lambd": 0.2, **DECAY},
    "adagrad_step": {"step": 3, "lr": 0.1, "lr_decay": 0.2, "eps": 1e-3, **DECAY},
    "adadelta_step": {"lr": 0.1, "rho": 0.8, "eps": 1e-3, **DECAY},
    "adamax_step": BETAS,
    "nadam_step": {**BETAS, "momentum_decay": 0.1, "mu_product": 0.5},
    "radam_step": {**BETAS, "step": 30},
    "lamb_step": {k: v for k, v in BETAS.items() if k != "lr"},
    "rprop_step": {"shrink": 0.5, "grow": 1.2, "smallest": 0.1, "largest": 2.0, "maximize": True},
    "rmsprop_step": RMS,
    "rmsprop_momentum_step": {**RMS, "momentum": 0.9},
    "centred_rmsprop_step": RMS,
    "centred_rmsprop_momentum_step": {**RMS, "momentum": 0.9},
    "scale_all_": {"factor": -0.3},
    "clamp_all_": {"low": -0.5, "high": 0.25},
    "mix_all_": {"share": 0.3},
    "add_all_": {"share": -0.7},
}
ROWS = {op.name: op for op in Step.__subclasses__()}
SHAPES = [(3, 5), (0, 2), (), (70_001,), (1,), (8, 8, 3, 3), (0,)]


def columns(op: type[Step], dtype=np.float32, shapes=SHAPES) -> list[list[Tensor]]:
    """Weights, what is remembered of them (squares are larger than any mean squared), and gradients."""
    rng = np.random.default_rng(0)
    offset = {"square": 49.0, "total": 9.0, "largest": 9.0, "size": 0.0, "moved": 0.0, "variance": 0.0}
    return [
        [Tensor.of(np.asarray(np.abs(x) + offset[name] if name in offset else x, dtype))
         for x in (rng.standard_normal(shape) for shape in shapes)]
        for name in op.arguments[: op.columns]
    ]  # fmt: skip


def arrays(made: list[list[Tensor]]) -> list[np.ndarray]:
    return [t.array for column in made for t in column]


def test_every_row_has_settings_here() -> None:
    assert set(ROWS) == set(SETTINGS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SETTINGS)
def test_the_kernel_of_a_row_does_what_its_formula_says(name: str, dtype) -> None:
    """Up to 15 operations a number, some of which cancel: 1e-5 of the size of the numbers in float32."""
    if not numba_status():
        pytest.skip("Numba is not installed")
    op = ROWS[name]
    fast, slow, before = columns(op, dtype), columns(op, dtype), columns(op, dtype)
    op.apply(*fast, **SETTINGS[name])
    with minidl.use_numba(False):
        op.apply(*slow, **SETTINGS[name])
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    for ours, reference in zip(arrays(fast), arrays(slow), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=tolerance, atol=tolerance)
    if op.columns > op.updates:
        for ours, same in zip(fast[-1], before[-1], strict=True):
            np.testing.assert_array_equal(ours.array, same.array)  # gradients
    changed = [not np.array_equal(a, b) for a, b in zip(arrays(fast), arrays(before), strict=True) if a.size > 9]
    assert sum(changed) >= 3 * (
        op.updates - (name in ("adafactor_step", "lamb_step"))
    )  # whose weights move by another step


@pytest.mark.parametrize("name", SETTINGS)
def test_bits_of_a_row_do_not_depend_on_threads_or_on_company(name: str) -> None:
    if not numba_status():
        pytest.skip("Numba is not installed")
    op, before = ROWS[name], minidl.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            minidl.set_num_threads(threads)
            made = columns(op)
            op.apply(*made, **SETTINGS[name])
            results.append(arrays(made))
    finally:
        minidl.set_num_threads(before)
    alone = columns(op)
    for weight in zip(*alone, strict=True):
        op.apply(*[[t] for t in weight], **SETTINGS[name])
    for one, two, three, single in zip(*results, arrays(alone), strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)
        np.testing.assert_array_equal(one, single)


def test_one_launch_changes_all_weights() -> None:
    made, launched = columns(ROWS["adam_step"]), []
    with launching(lambda call: (launched.append(call), call.run())):
        ROWS["adam_step"].apply(*made, **SETTINGS["adam_step"])
    assert [call.op.name for call in launched] == ["adam_step"]


def test_weights_of_several_kinds_can_go_together() -> None:
    """Types and memory orders are sorted out; gradients may lie in any order."""
    op = ROWS["adam_step"]
    mixed, plain = columns(op), columns(op)
    for made in (mixed, plain):
        for column in made:
            column[0].array = column[0].array.astype(np.float64)
            column[1].array = column[1].array.astype(np.float16)
    for column in mixed:
        column[5].array = np.asfortranarray(column[5].array)
    mixed[1][4].array = np.repeat(mixed[1][4].array, 2)[::2]
    mixed[3][0].array = np.asfortranarray(mixed[3][0].array)
    op.apply(*mixed, **SETTINGS["adam_step"])
    op.apply(*plain, **SETTINGS["adam_step"])
    for ours, wanted in zip(arrays(mixed), arrays(plain), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-6)


def test_a_misfit_among_many_is_named_and_nothing_is_changed() -> None:
    op = ROWS["adam_step"]
    made, before = columns(op), columns(op)
    made[2][3] = minidl.zeros(70_000)
    with pytest.raises(ShapeError, match=r"adam_step: square must have the shape of param, \(70001,\), got \(70000,\)"):
        op.apply(*made, **SETTINGS["adam_step"])
    np.testing.assert_array_equal(made[0][0].array, before[0][0].array)


def test_no_weights_are_no_work() -> None:
    ROWS["sgd_step"].apply([], [], **SETTINGS["sgd_step"])


def test_sums_of_squares_are_the_same_bits_on_any_number_of_threads() -> None:
    """Against float64; float32 lanes of 128 numbers round to 1e-6 at most."""
    tensors = columns(ROWS["sgd_step"])[0]
    wanted = [float((t.array.astype(np.float64) ** 2).sum()) for t in tensors]
    before, results = minidl.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            minidl.set_num_threads(threads)
            results.append(sums_of_squares(tensors).tolist())
    finally:
        minidl.set_num_threads(before)
    assert results[0] == results[1] == results[2]
    np.testing.assert_allclose(results[0], wanted, rtol=1e-6)


def test_a_rule_runs_in_plain_python_too() -> None:
    """What a debugger steps through: no kernel is compiled, addresses are read by ctypes."""
    op = ROWS["amsgrad_step"]
    slow, fast = columns(op, np.float64, [(3,), (0,), (2, 2)]), columns(op, np.float64, [(3,), (0,), (2, 2)])
    table, kept = pointers.cells(arrays(slow), op.columns)
    numbers = op.coefficients(**SETTINGS["amsgrad_step"])
    op.compiled.py_func(0, 7, table, np.array([0, 3, 3, 7]), np.array([numbers[n] for n in op.arguments[op.columns :]]))
    op.apply(*fast, **SETTINGS["amsgrad_step"])
    for ours, compiled in zip(arrays(slow), arrays(fast), strict=True):
        np.testing.assert_allclose(ours, compiled, rtol=1e-13)
    assert kept


def test_addresses_are_found_in_another_way_where_arrays_are_laid_out_otherwise(monkeypatch) -> None:
    usual, other = columns(ROWS["adam_step"]), columns(ROWS["adam_step"])
    ROWS["adam_step"].apply(*usual, **SETTINGS["adam_step"])
    monkeypatch.setattr(pointers, "_array_objects_are_cells", lambda: False)
    ROWS["adam_step"].apply(*other, **SETTINGS["adam_step"])
    for a, b in zip(arrays(usual), arrays(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_may_not_be_written_is_not() -> None:
    made = columns(ROWS["sgd_step"])
    made[0][0].array.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        ROWS["sgd_step"].apply(*made, **SETTINGS["sgd_step"])
