"""The CUDA kernels of optimisers' steps, executed on the CPU, beside the rules that NumPy runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl.core import registry
from minidl.ops.step import CUDA, WEIGHTS, Step
from tests.minidl.gpu import cuda_on_cpu
from tests.minidl.gpu.conftest import stand_in
from tests.minidl.gpu.strict_array import StrictArray

STEPS = [op for op in registry.ops.values() if issubclass(op, Step)]
SHAPES = [(3, 5), (), (0, 2), (7,), (1, 2, 300)]


def arrays(op: type[Step], count: int, dtype: Any) -> list[list[np.ndarray[Any, Any]]]:
    """Columns of weights of all shapes, with some NaN; what is remembered is positive, as sums of squares are."""
    rng = np.random.default_rng(0)
    columns = [[rng.standard_normal(SHAPES[i % len(SHAPES)]) for i in range(count)] for _ in range(op.columns)]
    for column in columns[1 : op.updates]:
        column[:] = [np.asarray(3 + np.abs(a)) for a in column]
    for column in columns:
        column[3][0] = np.nan
    return [[np.asarray(a, dtype) for a in column] for column in columns]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda t: t.__name__)
@pytest.mark.parametrize("count", [5, WEIGHTS + 6], ids=str)
@pytest.mark.parametrize("op", STEPS, ids=lambda op: op.name)
def test_a_step_follows_its_rule(op: type[Step], count: int, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the roundings of a handful of operations: the compiler may join a product and a sum."""
    cuda_on_cpu.need_compiler()
    names, rng = op.arguments[op.columns :], np.random.default_rng(1)
    numbers = {**{name: rng.uniform(0.1, 0.9) for name in names}, "one": 1.0, "zero": 0.0, "smallest": 0.1}
    numbers = {name: dtype(numbers[name]) for name in names}
    monkeypatch.setattr(op, "coefficients", lambda: numbers)
    columns = arrays(op, count, dtype)
    with np.errstate(invalid="ignore"):
        wanted = [op.rule(*weight, **numbers) for weight in zip(*columns, strict=True)]
    with stand_in():
        flat = [StrictArray(a) for column in columns for a in column]
        changed = count * op.updates
        op.cuda(tuple(flat[:changed]), *flat[changed:])
        for i, results in enumerate(wanted):
            for array, result in zip(flat[i:changed:count], results, strict=True):
                np.testing.assert_allclose(array.host, result, rtol=0, atol=30 * np.finfo(dtype).eps)


def test_neither_the_order_of_threads_nor_their_number_changes_a_bit() -> None:
    cuda_on_cpu.need_compiler()
    op = registry.ops["adam_step"]
    assert issubclass(op, Step)
    found = []
    for load in cuda_on_cpu.LOADERS:
        with stand_in(load):
            flat = [StrictArray(a) for column in arrays(op, 5, np.float32) for a in column]
            op.cuda(tuple(flat[:15]), *flat[15:], step=3, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-3, weight_decay=0.1,
                    maximize=False)  # fmt: skip
            found.append(np.concatenate([a.host.reshape(-1) for a in flat]))
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_every_step_has_a_kernel() -> None:
    with open(CUDA.path) as file:
        source = file.read()
    assert [op.name for op in STEPS if f" {op.name}(INDEX count, const Table table)" not in source] == []
