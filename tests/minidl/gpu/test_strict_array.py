"""The stand-in refuses what CuPy refuses; if it did not, the tests beside it would prove nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.core import Op, Spec, Tensor
from tests.minidl.gpu.conftest import stand_in
from tests.minidl.gpu.strict_array import StrictArray, cupy

x = cupy.asarray(np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(
    "use",
    [
        lambda: np.asarray(x),
        lambda: np.exp(x),
        lambda: np.sum(x),
        lambda: np.ones(3) * x,
        lambda: x + np.ones(3),
        lambda: x.__setitem__(0, np.ones(3)),
        lambda: cupy.errstate(all="ignore"),
        lambda: cupy.sum(x, where=x > 0),
        lambda: cupy.sum(x, initial=0.0),
        lambda: cupy.exp(x, where=x > 0),
        lambda: cupy.exp(x, out=cupy.zeros((2, 3), "int64")),
        lambda: cupy.add.at(cupy.zeros(3, "int64"), x[0].astype("int64"), 1),
        lambda: cupy.lib,
        lambda: x.flags.writeable,
        lambda: x.ctypes,
    ],
)
def test_what_cupy_has_not_is_refused(use: Any) -> None:
    with pytest.raises((TypeError, AttributeError)):
        use()


def test_single_numbers_are_arrays_and_come_to_the_host_when_asked() -> None:
    assert isinstance(x.sum(), StrictArray)
    assert isinstance(x[1, 2], StrictArray)
    assert x[1, 2].shape == ()
    assert (float(x.sum()), x[1, 2].item(), x.get().tolist()) == (15.0, 5.0, [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])


def test_arrays_do_not_outlive_their_gpu() -> None:
    with stand_in():
        kept = cupy.zeros(3)
        assert (kept + 1).tolist() == [1.0, 1.0, 1.0]
    with stand_in(), pytest.raises(TypeError, match="of another GPU"):
        cupy.ones(3) + kept


def test_a_convolution_without_a_bias_keeps_no_array_of_a_gpu_that_is_gone() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU())
    for _ in range(2):
        with stand_in():
            assert nn.Sequential(*net).to("cuda")(minidl.ones(1, 1, 2, 2, device="cuda")).shape == (1, 2, 2, 2)
            net.to("cpu")


def test_a_slice_is_a_view() -> None:
    a = cupy.zeros((2, 2))
    a[0][1] += 3
    assert a.tolist() == [[0.0, 3.0], [0.0, 0.0]]


def test_a_numpy_call_in_a_room_is_caught() -> None:
    class NumpyOnly(Op):
        name = "planted_numpy_only"

        @staticmethod
        def infer(x: Spec) -> Spec:
            return x

        @staticmethod
        def reference(xp: Any, out: Any, x: Any) -> None:
            out[...] = np.tanh(x)

    try:
        on_cpu: Tensor = NumpyOnly.apply(minidl.ones(2))
        assert on_cpu.shape == (2,)
        with stand_in(), pytest.raises(TypeError, match="ufunc"):
            NumpyOnly.apply(minidl.ones(2).to("cuda"))
    finally:
        del minidl.core.registry.ops["planted_numpy_only"]
