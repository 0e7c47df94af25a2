"""Ways: what is remembered of a call holds for calls alike, and for no others."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.core import Call, Tensor, launching, way
from minidl.device import numba_status, use_numba
from minidl.testing import LAYOUTS

pytestmark = pytest.mark.skipif(not numba_status(), reason="without Numba there is one way only")


def kernels_of(function: Any) -> list[str]:
    """The names of the kernels that run: of compiled ones those of the op's own."""
    seen = []

    def note(call: Call) -> None:
        seen.append("reference" if getattr(call.kernel, "func", None) == call.op.reference else "compiled")
        call.run()

    with launching(note):
        function()
    return seen


def image(*shape: int) -> Tensor:
    return Tensor.of(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def test_a_setting_that_changes_is_heeded_at_once() -> None:
    x, weight = image(1, 4, 8, 8), image(4, 4, 3, 3)

    def convolve() -> Tensor:
        return minidl.conv2d(x, weight)

    assert kernels_of(convolve) == ["compiled"]
    try:
        minidl.set_conv_algorithm("im2col")
        assert kernels_of(convolve) == ["reference"]
    finally:
        minidl.set_conv_algorithm("auto")
    assert kernels_of(convolve) == ["compiled"]
    with use_numba(False):
        assert kernels_of(convolve) == ["reference"]


def test_a_batch_of_its_own_is_heeded_at_once() -> None:
    x, y = image(4, 4), image(4, 4)
    assert kernels_of(lambda: x @ y) == ["reference"]
    try:
        minidl.use_deterministic("batch")
        assert kernels_of(lambda: x @ y) == ["compiled"]
    finally:
        minidl.use_deterministic("threads")


def test_arrays_that_lie_in_other_ways_are_not_mixed_up() -> None:
    plain = image(2, 3, 5, 4)
    expected = np.maximum(plain.array, 0) + plain.array
    for _ in range(2):
        for lies in LAYOUTS.values():
            x = Tensor.of(lies(plain.array))
            np.testing.assert_array_equal((x.relu() + x).numpy(), expected)


def test_one_type_beside_another_is_not_mixed_up() -> None:
    x = np.arange(6.0)
    for _ in range(2):
        for dtype in (np.float32, np.float64, np.float16, np.int64):
            assert (Tensor.of(x.astype(dtype)) + Tensor.of(x.astype(dtype))).dtype == dtype


def test_the_table_does_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(way, "_MOST", 10)
    for n in range(1, 40):
        minidl.ones(n).relu()
    assert len(way._ways) <= 10


@pytest.mark.parametrize("made", [copy.copy, copy.deepcopy])
def test_a_waiting_tensor_can_be_copied(made: Any) -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = minidl.linear(x, x)
            return made(y)

    result = Net()(Tensor([[1.0, 2.0]]))
    assert type(result) is Tensor
    assert result.tolist() == [[5.0]]
