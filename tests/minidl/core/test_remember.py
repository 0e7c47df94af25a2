"""What is made of weights is kept while they do not change, whoever changes them, and for as long as they live."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.core import remember
from minidl.core.remember import Prepared, remembered
from minidl.device import numba_status
from minidl.device.digest import Seal

pytestmark = [pytest.mark.numba, pytest.mark.skipif(not numba_status(), reason="Numba is not installed")]


class Counted:
    """A function of an array that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, tensor: minidl.Tensor) -> Any:
        def double() -> Any:
            self.calls += 1
            return (tensor.array * 2,)

        return remembered("double", (tensor.array,), double)[0]


def test_the_second_call_keeps_and_the_third_finds() -> None:
    double, x = Counted(), minidl.randn(5)
    results = [double(x) for _ in range(4)]
    assert double.calls == 2
    assert results[1] is results[2] is results[3]
    np.testing.assert_array_equal(results[3], x.array * 2)


CHANGES = {
    "add_": lambda x: x.add_(1),
    "index": lambda x: x.__setitem__(0, 9),
    "a view": lambda x: x[1:].mul_(3),
    "copy_": lambda x: x.copy_(minidl.zeros(5)),
    "its numpy array": lambda x: x.numpy().__setitem__(2, 7),
    "its raw array": lambda x: x.array.__setitem__(2, 7),
    "an optimiser": lambda x: _step(x),
}


def _step(x: minidl.Tensor) -> None:
    x.grad = minidl.ones(5)
    minidl.optim.SGD([x], lr=0.1).step()
    x.grad = None


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_is_seen(change: str) -> None:
    double, x = Counted(), minidl.randn(5)
    for _ in range(3):
        for _ in range(3):
            np.testing.assert_array_equal(double(x), x.array * 2)
        with minidl.no_grad():
            CHANGES[change](x)


@pytest.mark.parametrize("size", [5, 1024, 1025, 5001, 300_003])
def test_a_single_number_that_somebody_else_writes_is_seen(size: int) -> None:
    array = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    double, x = Counted(), minidl.from_numpy(array)
    for place in {0, 1, size // 2, size - 2, size - 1}:
        for _ in range(3):
            np.testing.assert_array_equal(double(x), array * 2)
        array[place] = -array[place]
        np.testing.assert_array_equal(double(x), array * 2)


@pytest.mark.parametrize("size", [700, 1024, 9001, 300_003])
def test_digests_tell_changes_of_a_kind_apart(size: int) -> None:
    """Two signs, all signs, two numbers exchanged, all moved by one: each differs from the others and from before."""
    array = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    two_signs, exchanged = array.copy(), array.copy()
    two_signs[[1, 257]] *= -1  # words of the same lane
    exchanged[[1, 257]] = array[[257, 1]]
    seen = [Seal([a])._was for a in (array, two_signs, -array, exchanged, np.roll(array, 1), np.roll(array, 128))]
    assert len(set(seen)) == len(seen)
    assert Seal([array.copy()])._was == seen[0]


def test_a_seal_over_arrays_of_all_kinds_sees_a_change_of_each() -> None:
    draws = np.random.default_rng(0).standard_normal
    arrays = [
        draws(3).astype(np.float32), draws((40, 50))[::2, ::3], np.empty((0, 4)), draws((3, 4, 5)).transpose(2, 0, 1),
        np.arange(7, dtype=np.int8), np.array(2.0, np.float32), draws((400, 401)), np.array([True, False]),
    ]  # fmt: skip
    seal = Seal(arrays)
    assert seal.holds(arrays)
    for array in arrays:
        for place in {0, array.size // 2, array.size - 1} if array.size else ():
            before = array.flat[place]
            array.flat[place] = not before if array.dtype == bool else before + 1
            assert not seal.holds(arrays)
            array.flat[place] = before
            assert seal.holds(arrays)


def test_what_was_made_goes_with_the_weight() -> None:
    gc.collect()
    before = len(remember._memories)
    double, x = Counted(), minidl.randn(5)
    for _ in range(3):
        double(x)
    assert len(remember._memories) == before + 1
    del x
    gc.collect()
    assert len(remember._memories) == before


def test_prepared_memory_is_filled_at_every_change_and_only_then() -> None:
    filled, x = [], minidl.randn(6)

    def fill(room: Any, weight: Any) -> None:
        filled.append(1)
        room[:6] = weight + 1

    more = Prepared("more", 6, fill)
    for expected, is_lent in ((1, True), (2, False), (2, False), (2, False)):
        room, lent = more.of(x.array)
        np.testing.assert_array_equal(room[:6], x.array + 1)
        assert (len(filled), lent is not None) == (expected, is_lent)
    x.mul_(2)
    room, _ = more.of(x.array)
    np.testing.assert_array_equal(room[:6], x.array + 1)
    assert len(filled) == 3


def test_a_net_at_rest_follows_every_change_of_its_weights() -> None:
    """Folded batch-norm, transformed and packed weights: after each change as a net that never ran before."""
    minidl.manual_seed(0)

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1),
            nn.Conv2d(32, 16, 5, stride=2), nn.Conv2d(16, 16, 3, groups=16), nn.BatchNorm2d(16),
            nn.ConvTranspose2d(16, 8, 2, stride=2), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 10 * 10, 4),
        )  # fmt: skip

    net, x = build().eval(), minidl.randn(2, 3, 18, 18)
    changes = [
        lambda: net[0].weight.mul_(2),
        lambda: net[1].running_var.add_(1),
        lambda: net[3].weight.add_(0.1),
        lambda: net[6].bias.add_(0.1),
        lambda: net.load_state_dict({name: t * 1.5 for name, t in net.state_dict().items()}),
        lambda: (net.train(), net(minidl.randn(4, 3, 18, 18)), net.eval()),
    ]
    with minidl.no_grad():
        for change in changes:
            for _ in range(4):
                found = net(x)
            fresh = build().eval()
            fresh.load_state_dict(net.state_dict())
            np.testing.assert_array_equal(found.numpy(), fresh(x).numpy())
            change()
