"""Anomaly mode names the op, the place, the inputs and the line of the first number that is not finite."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl.autograd import Function, detect_anomaly, is_anomaly_enabled, set_detect_anomaly
from minidl.core import launching
from minidl.errors import AnomalyError, GradError


def test_forward_names_op_place_and_inputs() -> None:
    x = minidl.tensor([[1.0, 2.0], [0.0, -1.0]])
    expected = re.escape(
        "log: its result is -inf at (1, 0), the first place that is not finite; inputs: (2, 2) float32"
    )
    with detect_anomaly(), pytest.raises(AnomalyError, match=expected):
        x.log()


def test_a_nan_is_named_where_it_is_born_not_where_it_arrives() -> None:
    x = minidl.tensor([1.0, np.nan, np.inf])
    with detect_anomaly():
        y = (x * 2).exp() + 1
        with pytest.raises(AnomalyError, match=r"div: its result is nan at \(1,\)"):
            minidl.tensor([1.0, np.inf]) / np.inf
    assert np.isnan(y.numpy()[1])


def test_backward_names_op_input_place_and_line() -> None:
    x = minidl.tensor([4.0, 0.0], requires_grad=True)
    with detect_anomaly():
        y = x.sqrt()  # the line that the error names
        with pytest.raises(AnomalyError) as raised:
            y.sum().backward()
    text = str(raised.value)
    line = 1 + next(i for i, s in enumerate(Path(__file__).read_text().splitlines()) if "the line that" in s)
    assert text.startswith(
        "backward of sqrt: the gradient of its input 0 is inf at (1,), the first place that is not finite; "
        f"inputs: (2,) float32; recorded at {__file__}:{line} ("
    )


def test_other_errors_of_backward_name_the_line_too() -> None:
    class Broken(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            raise ZeroDivisionError("by hand")

    with detect_anomaly(check_nan=False), pytest.raises(ZeroDivisionError) as raised:
        Broken.apply(minidl.ones(2, requires_grad=True)).sum().backward()
    assert re.match("in the backward pass of Broken, recorded at .*test_anomaly.py:", raised.value.__notes__[0])


def test_check_nan_false_lets_numbers_pass() -> None:
    with detect_anomaly(check_nan=False):
        assert minidl.tensor([0.0]).log().item() == -np.inf


def test_gradients_that_only_pass_through_infinities_inside_are_fine() -> None:
    """d/dy of x**y at x = 0 takes the logarithm of 0 on the way, and is 0."""
    x, y = minidl.tensor([0.0, 2.0], requires_grad=True), minidl.tensor([2.0, 3.0], requires_grad=True)
    with detect_anomaly():
        (x**y).sum().backward()
    assert y.grad[0].item() == 0.0


def test_the_mode_ends_with_its_block_and_nests() -> None:
    assert not is_anomaly_enabled()
    with detect_anomaly():
        with set_detect_anomaly(False):
            assert not is_anomaly_enabled()
            assert minidl.tensor([0.0]).log().item() == -np.inf
        with pytest.raises(AnomalyError):
            minidl.tensor([0.0]).log()
    assert not is_anomaly_enabled()
    set_detect_anomaly(True)
    try:
        with pytest.raises(AnomalyError):
            minidl.tensor([0.0]).log()
    finally:
        set_detect_anomaly(False)
    assert minidl.tensor([0.0]).log().item() == -np.inf


def test_others_who_watch_kernels_still_see_them() -> None:
    seen = []

    def note(call) -> None:
        seen.append(call.op.name)
        call.run()

    with launching(note), detect_anomaly():
        minidl.ones(2) + minidl.ones(2)
    assert seen == ["add"]


def test_anomaly_errors_are_grad_errors() -> None:
    assert issubclass(AnomalyError, GradError)
