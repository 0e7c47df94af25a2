"""The CUDA kernels of normalisation and activations, executed on the CPU, beside the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Tensor
from minidl.core import registry
from minidl.ops.activation_gpu import CUDA, KINDS
from minidl.ops.batch_norm import (
    BatchMoments,
    BatchNormalize,
    BatchNormalizeAddReluGrad,
    BatchNormalizeGrad,
    TrackedMoments,
)
from minidl.ops.batch_norm.activation import FORMULAS, NONE, RELU
from minidl.ops.normalize import Normalize, NormalizeGrad
from tests.minidl.gpu import cuda_on_cpu
from tests.minidl.gpu.conftest import stand_in

ACTIVATIONS = [NONE, RELU, *[(name, 0.5) for name in list(FORMULAS)[2:]]]
SHAPES = [(5, 3), (2, 3, 7), (3, 4, 5, 6), (2, 2, 3, 2, 2), (4, 2, 70, 70)]  # the last one in several parts


def results(shape: tuple[int, ...], activation: Any, dtype: Any, device: str) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    x, g, residual = (minidl.tensor(rng.standard_normal(shape).astype(dtype)).to(device) for _ in range(3))
    weight, bias = (minidl.tensor(rng.standard_normal(shape[1]).astype(dtype)).to(device) for _ in "wb")
    running = [minidl.tensor(rng.uniform(1, 2, shape[1]).astype(dtype)).to(device) for _ in range(2)]
    with minidl.use_numba(False):
        mean, var = BatchMoments.apply(x)
        tracked = TrackedMoments.apply(*running, x, momentum=0.1, correction=1.5)
        given = (x, weight, bias, mean, var)
        y: Tensor = BatchNormalize.apply(*given, residual, eps=1e-3, activation=RELU)
        found = [
            mean, var, *tracked, *running, y,
            BatchNormalize.apply(*given, eps=1e-3, activation=activation),
            BatchNormalize.apply(*given, residual, eps=1e-3, activation=NONE),
            *BatchNormalizeGrad.apply(g, *given, eps=1e-3, activation=activation),
            *BatchNormalizeAddReluGrad.apply(g, *given, y, eps=1e-3),
        ]  # fmt: skip
    return [t.cpu().numpy() for t in found]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda t: t.__name__)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a[0])
@pytest.mark.parametrize("shape", SHAPES[:4], ids=str)
def test_kernels_equal_the_reference(shape: tuple[int, ...], activation: Any, dtype: Any) -> None:
    """To roundings; sums are double here, and in NumPy of the type of x."""
    cuda_on_cpu.need_compiler()
    wanted = results(shape, activation, dtype, "cpu")
    with stand_in():
        given = results(shape, activation, dtype, "cuda")
    for ours, theirs in zip(given, wanted, strict=True):
        bound = 50 * np.finfo(dtype).eps * max(1, np.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)


def test_sums_of_parts_equal_the_reference_and_are_the_same_bits_in_any_order() -> None:
    cuda_on_cpu.need_compiler()
    wanted, found = results(SHAPES[-1], RELU, np.float64, "cpu"), []
    for load in cuda_on_cpu.LOADERS:
        with stand_in(load):
            found.append(results(SHAPES[-1], RELU, np.float64, "cuda"))
    for ours, theirs in zip(found[0], wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12 * max(1, np.abs(theirs).max()))
    for other in found[1:]:
        for first, second in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("shape", SHAPES[2:], ids=str)
def test_moments_of_whole_numbers_are_exact(shape: tuple[int, ...]) -> None:
    cuda_on_cpu.need_compiler()
    x = np.random.default_rng(0).integers(-3, 4, shape).astype(np.float32)
    exact, dims = x.astype(np.float64), (0, *range(2, x.ndim))
    with stand_in():
        mean, var = (t.cpu().numpy() for t in BatchMoments.apply(minidl.tensor(x).to("cuda")))
    np.testing.assert_array_equal(mean, exact.mean(dims).astype(np.float32))
    np.testing.assert_array_equal(var, exact.var(dims).astype(np.float32))


ROWS = [((7, 5), 1, 1), ((2, 6, 4, 3), 2, 3), ((2, 4, 50), 2, 4), ((600, 9), 1, 1), ((3, 2, 8), 2, 1)]


def row_results(shape: tuple[int, ...], lead: int, groups: int, dtype: Any, device: str) -> list[np.ndarray[Any, Any]]:
    """Layer norm (one group, as many weights as a row has numbers), or group norm with two weights a group."""
    rng = np.random.default_rng(0)
    x, g = (minidl.tensor(rng.standard_normal(shape).astype(dtype)).to(device) for _ in "xg")
    count = int(np.prod(shape[lead:])) if groups == 1 else 2 * groups
    weight, bias = (minidl.tensor(rng.standard_normal(count).astype(dtype)).to(device) for _ in "wb")
    with minidl.use_numba(False):
        rows = int(np.prod(shape[:lead]))
        y, mean, rstd = Normalize.apply(x, weight, bias, rows=rows, groups=groups, eps=1e-3)
        found = y, mean, rstd, *NormalizeGrad.apply(g, x, weight, mean, rstd, groups=groups)
    return [t.cpu().numpy() for t in found]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda t: t.__name__)
@pytest.mark.parametrize(("shape", "lead", "groups"), ROWS, ids=str)
def test_rows_equal_the_reference_in_any_order(shape: tuple[int, ...], lead: int, groups: int, dtype: Any) -> None:
    cuda_on_cpu.need_compiler()
    wanted, found = row_results(shape, lead, groups, dtype, "cpu"), []
    for load in cuda_on_cpu.LOADERS:
        with stand_in(load):
            found.append(row_results(shape, lead, groups, dtype, "cuda"))
    for ours, theirs in zip(found[0], wanted, strict=True):
        bound = 50 * np.finfo(dtype).eps * max(1, np.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)
    for other in found[1:]:
        for first, second in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda t: t.__name__)
@pytest.mark.parametrize("name", [name for name in FORMULAS if name not in ("none", "clamp")])
def test_activations_and_slopes_equal_the_reference(name: str, dtype: Any) -> None:
    """To roundings of exp and erf, which NumPy and the compiler have each their own of; NaN stays, borders hold."""
    cuda_on_cpu.need_compiler()
    x = np.concatenate([np.linspace(-8, 8, 333), [np.nan, 0, -0.0, 3, -3]]).astype(dtype)
    level = FORMULAS[name].parameter
    params = {level: 0.3} if level else {}
    found = {}
    for device in ("cpu", "cuda"):
        with stand_in(), minidl.use_numba(False):
            t, g = minidl.tensor(x).to(device), minidl.tensor(np.cos(np.arange(len(x))).astype(dtype)).to(device)
            ops = registry.ops[name], registry.ops[f"{name}_grad"]
            found[device] = [r.cpu().numpy() for r in (ops[0].apply(t, **params), ops[1].apply(g, t, **params))]
    for ours, theirs in zip(found["cuda"], found["cpu"], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=20 * np.finfo(dtype).eps, atol=20 * np.finfo(dtype).eps)


def test_the_activations_of_the_kernels_are_those_of_the_table() -> None:
    assert list(KINDS) == list(FORMULAS)
    with open(CUDA.path.replace("activations.cuh", "activation.cuh")) as file:
        source = file.read()
    for name, kind in list(KINDS.items())[1:]:
        assert f" {name.upper()} = {kind}" in source
