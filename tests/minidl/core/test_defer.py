"""Deferring: what waits is taken in by the op behind it, or computed as if it had never waited."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.core import Op, Tensor, absorbs, deferring, launching, registry
from minidl.core.defer import Waiting, rules


class Halve(Op):
    """x / 2, which may wait."""

    name = "halve"
    defers = True

    @staticmethod
    def infer(x: Any) -> Any:
        return x

    @staticmethod
    def reference(xp: Any, out: Any, x: Any) -> None:
        xp.divide(x, 2, out=out)

    @staticmethod
    def vjp(node: Any, g: Tensor) -> Any:
        return (Halve.apply(g),)


class Bend(Op):
    """max(x, 0), or max(x / 2, 0) when it has taken a `halve` in."""

    name = "bend"
    saves = ("x",)

    @staticmethod
    def infer(x: Any, *, factor: float = 1.0) -> Any:
        return x

    @staticmethod
    def reference(xp: Any, out: Any, x: Any, *, factor: float = 1.0) -> None:
        xp.maximum(x * factor, 0, out=out)

    @staticmethod
    def vjp(node: Any, g: Tensor) -> Any:
        (x,) = node.saved
        return (g * (x > 0) * node.params.get("factor", 1.0),)


@absorbs("bend", "halve")
def bend_halved(waits: Waiting, position: int, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> Tensor:
    return Bend.apply(*waits.inputs, factor=0.5)


@pytest.fixture(autouse=True, scope="module")
def forget_the_ops():
    yield
    del registry.ops["halve"], registry.ops["bend"], rules["bend"]


class Net(nn.Module):
    def __init__(self, forward):
        self.forward = forward


def run(forward, *inputs):
    """The result, and the names of the ops that ran."""
    ran = []

    def note(call):
        ran.append(call.op.name)
        call.run()

    with launching(note):
        result = Net(forward)(*inputs)
    return result, ran


def x(*values, requires_grad=False):
    return minidl.tensor(list(values) or [-4.0, 2.0, 6.0], requires_grad=requires_grad)


def test_an_op_takes_in_what_waits() -> None:
    y, ran = run(lambda t: Bend.apply(Halve.apply(t)), x())
    assert ran == ["bend"]
    assert y.tolist() == [0.0, 1.0, 3.0]


def test_nothing_waits_outside_of_modules() -> None:
    assert type(Halve.apply(x())) is Tensor


def test_what_is_returned_is_computed() -> None:
    y, ran = run(Halve.apply, x())
    assert ran == ["halve"]
    assert type(y) is Tensor
    assert y.tolist() == [-2.0, 1.0, 3.0]


def test_what_nobody_wants_is_never_computed() -> None:
    def forward(t):
        Halve.apply(t)
        return t

    assert run(forward, x())[1] == []


def test_another_op_finds_the_numbers() -> None:
    y, ran = run(lambda t: Halve.apply(t) + 1, x())
    assert ran == ["halve", "add"]
    assert y.tolist() == [-1.0, 2.0, 4.0]


def test_shape_and_type_are_known_before() -> None:
    with deferring():
        y = Halve.apply(minidl.zeros(2, 3))
        assert (y.shape, y.dtype, y.ndim, y.numel(), str(y.device)) == ((2, 3), np.float32, 2, 6, "cpu")
        assert y.op is Halve


def test_two_readers_both_get_it() -> None:
    def forward(t):
        half = Halve.apply(t)
        return Bend.apply(half) + half

    y, ran = run(forward, x())
    assert ran == ["bend", "halve", "add"]
    assert y.tolist() == [-2.0, 2.0, 6.0]


@pytest.mark.parametrize("both", [False, True])
def test_gradients_flow_through(both) -> None:
    t = x(requires_grad=True)

    def forward(t):
        half = Halve.apply(t)
        return Bend.apply(half) + half if both else Bend.apply(half)

    run(forward, t)[0].sum().backward()
    assert t.grad.tolist() == ([0.5, 1.0, 1.0] if both else [0.0, 0.5, 0.5])


def test_a_change_in_place_comes_after_what_waits_for_the_memory() -> None:
    def forward(t):
        half = Halve.apply(t)
        t.mul_(0.0)
        return Bend.apply(half)

    y, ran = run(forward, x())
    assert ran == ["halve", "mul_", "bend"]
    assert y.tolist() == [0.0, 1.0, 3.0]


@pytest.mark.parametrize("change", [lambda t: t.__setitem__(0, 9.0), lambda t: setattr(t, "data", x(9.0, 9.0, 9.0))])
def test_so_do_index_assignment_and_new_data(change) -> None:
    def forward(t):
        half = Halve.apply(t)
        change(t)
        return half + 0

    assert run(forward, x())[0].tolist() == [-2.0, 1.0, 3.0]


def test_a_change_of_other_memory_lets_it_wait() -> None:
    other = x()

    def forward(t):
        half = Halve.apply(t)
        other.mul_(0.0)
        return Bend.apply(half)

    assert run(forward, x())[1] == ["mul_", "bend"]


def test_it_is_recorded_as_it_was_asked_for() -> None:
    t = x(requires_grad=True)

    def forward(t):
        with minidl.no_grad():
            half = Halve.apply(t)
        return half, Halve.apply(t)

    off, on = run(forward, t)[0]
    assert not off.requires_grad
    assert on.requires_grad
    assert on.node.op is Halve


def test_a_kernel_of_the_user_is_never_passed_over() -> None:
    def thirds(out, x):
        np.divide(x, 3, out=out)

    with minidl.use_kernel("halve", thirds):
        y, ran = run(lambda t: Bend.apply(Halve.apply(t)), x(3.0))
    assert ran == ["halve", "bend"]
    assert y.tolist() == [1.0]


def test_an_error_leaves_nothing_behind() -> None:
    def forward(t):
        Halve.apply(t)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(forward, x())
    assert type(Halve.apply(x())) is Tensor
