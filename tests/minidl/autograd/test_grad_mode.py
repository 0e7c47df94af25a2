"""The switches, in all the ways PyTorch allows."""

from __future__ import annotations

import threading

import pytest

import minidl
from minidl import enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad, set_grad_enabled


@pytest.mark.parametrize("decorate", [no_grad, no_grad(), inference_mode, inference_mode(), set_grad_enabled])
def test_decorators(decorate) -> None:
    if decorate is set_grad_enabled:
        decorate = set_grad_enabled(False)

    @decorate
    def inside() -> bool:
        """Its own words."""
        return is_grad_enabled()

    assert is_grad_enabled()
    assert inside() is False
    assert is_grad_enabled()
    assert inside.__doc__ == "Its own words."
    with no_grad():
        assert enable_grad(is_grad_enabled)()


def test_a_decorated_generator_is_in_the_mode_and_its_user_is_not() -> None:
    @no_grad()
    def steps():
        got = yield is_grad_enabled()
        yield got, is_grad_enabled()
        return 7

    walk = steps()
    assert next(walk) is False
    assert is_grad_enabled()
    assert walk.send("word") == ("word", False)
    with pytest.raises(StopIteration) as stop:
        next(walk)
    assert stop.value.value == 7


def test_blocks_nest_and_end_after_errors() -> None:
    with no_grad():
        with enable_grad():
            assert is_grad_enabled()
        with pytest.raises(ZeroDivisionError), set_grad_enabled(True):
            _ = 1 / 0
        assert not is_grad_enabled()
    assert is_grad_enabled()


def test_a_plain_call_switches_from_here_on() -> None:
    set_grad_enabled(False)
    try:
        assert not is_grad_enabled()
    finally:
        set_grad_enabled(True)
    with set_grad_enabled(False):
        assert not is_grad_enabled()
    assert is_grad_enabled()


def test_inference_mode_cannot_be_switched_off_inside() -> None:
    x = minidl.ones(1, requires_grad=True)
    with inference_mode():
        assert is_inference_mode_enabled()
        with enable_grad():
            assert (x * 2).grad_fn is None
        with inference_mode(False):
            assert (x * 2).grad_fn is not None
    assert not is_inference_mode_enabled()
    assert is_grad_enabled()


def test_a_decorated_function_may_run_in_several_threads() -> None:
    """The first to come leaves first, and each finds its own mode again."""
    first_is_in, second_is_in, first_has_left = (threading.Event() for _ in range(3))
    after = {}

    @no_grad()
    def inside(name: str) -> None:
        if name == "first":
            first_is_in.set()
            second_is_in.wait(10)
        else:
            second_is_in.set()
            first_has_left.wait(10)

    def outside(name: str, mode: bool) -> None:
        set_grad_enabled(mode)
        inside(name)
        after[name] = is_grad_enabled()

    first = threading.Thread(target=outside, args=("first", True))
    second = threading.Thread(target=outside, args=("second", False))
    first.start()
    first_is_in.wait(10)
    second.start()
    first.join()
    first_has_left.set()
    second.join()
    assert after == {"first": True, "second": False}
