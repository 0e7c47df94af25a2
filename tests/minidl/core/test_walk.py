"""The walk back: depth, memory, and what is kept of a graph."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import minidl
from minidl.core import Node
from minidl.errors import GradError

DEPTH = 100_000


@pytest.mark.slow
def test_a_chain_of_100_000_steps_is_built_walked_and_freed_without_recursion() -> None:
    x = minidl.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(DEPTH // 2):
        y = y * 1.0 + 0.0
    y.backward()
    assert x.grad.item() == 1.0
    ref = weakref.ref(y.grad_fn)
    del y  # frees 100,000 nodes, each by the one after it
    assert ref() is None


@pytest.mark.slow
def test_a_chain_of_100_000_views_does_not_recurse() -> None:
    x = minidl.ones(2, requires_grad=True)
    y = x * 1.0
    for _ in range(DEPTH):
        y = y[::-1]
    y.mul_(2)  # carries the change up to the first
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_a_graph_dies_without_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        x = minidl.tensor(np.ones(3), requires_grad=True)
        hidden = (x * 2).exp()
        out = minidl.cat([hidden, hidden.relu()])
        out[0] = x[1] * 3
        loss = out.view(2, 3).sum()
        (first,) = minidl.autograd.grad(loss, x, create_graph=True)
        nodes = [weakref.ref(t.grad_fn) for t in (hidden, out, loss, first)]
        arrays = [weakref.ref(t.array) for t in (hidden, out)]
        first.sum().backward()
        del hidden, out, loss, first
        assert [ref() for ref in nodes] == [None] * 4
        assert [ref() for ref in arrays] == [None] * 2
    finally:
        gc.enable()


def test_a_network_leaves_nothing_to_the_garbage_collector() -> None:
    net = minidl.nn.Sequential(minidl.nn.Linear(4, 8), minidl.nn.LayerNorm(8), minidl.nn.ReLU(), minidl.nn.Linear(8, 1))
    net(minidl.randn(2, 4)).sum().backward()
    gc.collect()
    before = sum(type(o) is Node for o in gc.get_objects())
    gc.disable()
    try:
        for _ in range(3):
            net(minidl.randn(2, 4)).sum().backward()
        assert sum(type(o) is Node for o in gc.get_objects()) == before
    finally:
        gc.enable()


def test_backward_frees_what_was_saved_and_says_so() -> None:
    x = minidl.tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(GradError, match=r"saved by mul were freed by an earlier backward; .* retain_graph=True"):
        y.backward()


def test_retain_graph_decides_also_beside_create_graph() -> None:
    x = minidl.tensor(2.0, requires_grad=True)
    y = x * x
    y.backward(create_graph=True)
    y.backward(create_graph=True, retain_graph=False)
    with pytest.raises(GradError, match="freed"):
        y.backward()


def test_a_leaf_never_shares_its_gradient_with_another() -> None:
    x, y = minidl.ones(3, requires_grad=True), minidl.ones(3, requires_grad=True)
    start = minidl.ones(3)
    (x + y).backward(start)
    x.grad.mul_(5)
    assert y.grad.tolist() == start.tolist() == [1.0] * 3


def test_backward_into_named_inputs_leaves_the_others_alone() -> None:
    x, y = minidl.tensor(2.0, requires_grad=True), minidl.tensor(3.0, requires_grad=True)
    (x * y).backward(inputs=[y])
    assert x.grad is None
    assert y.grad.item() == 2.0


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "backward: inputs is empty; name the leaves"),
        (lambda x: [x * 2], r"backward: inputs\[0\] was computed; only leaves"),
        (lambda x: [x, minidl.ones(1)], r"backward: inputs\[1\] does not require a gradient"),
    ],
)
def test_inputs_that_gather_no_gradient_are_named(inputs, message: str) -> None:
    x = minidl.tensor(2.0, requires_grad=True)
    with pytest.raises(GradError, match=message):
        (x * x).backward(inputs=inputs(x) if callable(inputs) else inputs)


def test_grad_fn_shows_the_graph() -> None:
    x = minidl.tensor(2.0, requires_grad=True)
    y = x * 3
    z = y + x
    assert z.grad_fn.name() == "add"
    assert z.grad_fn.next_functions == ((y.grad_fn, 0), (x, 0))
    assert y.grad_fn.next_functions[1] == (None, 0)
    assert y.grad_fn.number < z.grad_fn.number
    assert (x.is_leaf, y.is_leaf, x.grad_fn) == (True, False, None)
    assert [t.output_nr for t in minidl.ones(2, requires_grad=True).max(0)][:1] == [0]
