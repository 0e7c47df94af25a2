"""Compiling in the background: the reference stands in meanwhile, and only where the user asks for it."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl.core import Op, Tensor, launching, registry
from minidl.device import kernel, numba_status, parallel
from minidl.device.background import wait_for_compiles
from minidl.errors import ArgumentError

pytestmark = pytest.mark.skipif(not numba_status(), reason="Numba is not installed")


def make_op():
    """An op whose kernel nobody has compiled in this process or before it: its constant is new."""
    number = float(np.random.default_rng().random())

    @kernel("T[::1], const T[::1]", T=("float32", "float64"))
    def add_number(begin, end, out, x):
        for i in range(begin, end):
            out[i] = x[i] + number

    class AddNumber(Op):
        name = "add_number"
        stood_in = 0

        @staticmethod
        def infer(x):
            return x

        @staticmethod
        def reference(xp, out, x):
            AddNumber.stood_in += 1
            xp.add(x, number, out=out)

        @staticmethod
        def cpu(out, x):
            parallel(add_number, x.size, out, x)

    return AddNumber, number


@pytest.fixture
def op():
    yield make_op()
    minidl.set_compile("alone")
    wait_for_compiles()  # else one that ends late writes into the cache of another test
    del registry.ops["add_number"]


def test_the_reference_stands_in_until_the_kernel_is_there(op) -> None:
    add, number = op
    minidl.set_compile("background")
    x = Tensor.of(np.arange(5.0))
    np.testing.assert_allclose(add.apply(x).numpy(), np.arange(5.0) + number)
    assert add.stood_in == 1
    wait_for_compiles()
    np.testing.assert_allclose(add.apply(x).numpy(), np.arange(5.0) + number)
    assert add.stood_in == 1


def test_by_default_a_call_waits(op) -> None:
    add, number = op
    np.testing.assert_allclose(add.apply(Tensor.of(np.arange(5.0))).numpy(), np.arange(5.0) + number)
    assert add.stood_in == 0


def test_what_runs_is_told(op) -> None:
    add, _ = op
    minidl.set_compile("background")
    seen = []

    def note(call):
        seen.append(call.op.name)
        call.run()

    with launching(note):
        add.apply(Tensor.of(np.arange(5.0)))
    assert seen == ["add_number", "add_number"]  # the try, and what stood in


def test_optimisers_wait_for_their_kernels(op) -> None:
    """A step half done must not be done again by the reference."""
    minidl.set_compile("background")
    weight = minidl.nn.Parameter(minidl.ones(3))
    weight.grad = minidl.ones(3)
    minidl.optim.SGD([weight], lr=0.5).step()
    assert weight.tolist() == [0.5, 0.5, 0.5]


def test_unknown_modes_are_named() -> None:
    with pytest.raises(ArgumentError, match="mode must be 'wait', 'alone' or 'background', got 'never'"):
        minidl.set_compile("never")
