"""The checks that every op must pass, written once; `cases.py` has the rows."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl.core import Tensor, launching, registry
from minidl.device import poisoned_memory
from minidl.errors import MinidlError
from minidl.testing import Case, check_gradient
from tests.minidl.ops.cases import CASES

each_case = pytest.mark.parametrize("case", CASES, ids=str)


def results_of(call) -> tuple[Tensor, ...]:
    return tuple(call) if isinstance(call, tuple) else (call,)


@each_case
def test_values_equal_numpy(case: Case) -> None:
    """float64: one rounding of each operation, so 1e-12 of the value."""
    if case.expected is None:  # a file of its own compares the values
        return
    inputs = case.inputs()
    with poisoned_memory():
        given = results_of(case.call(*inputs))
    wanted = case.expected(*[t.array for t in inputs], *case.args, **case.params)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    assert len(given) == len(wanted)
    for ours, theirs in zip(given, wanted, strict=True):
        assert ours.shape == np.shape(theirs)
        np.testing.assert_allclose(ours.array, theirs, rtol=1e-12, atol=1e-14)


@each_case
def test_float32_stays_float32_and_agrees_with_float64(case: Case) -> None:
    """rtol 1.3e-6 and atol 1e-5 are PyTorch's own bounds for float32."""
    exact = results_of(case.call(*case.inputs()))
    given = results_of(case.call(*case.inputs(dtype=np.float32)))
    for single, double in zip(given, exact, strict=True):
        assert single.dtype == (np.float32 if double.dtype == np.float64 else double.dtype)
        if double.dtype == np.float64:
            np.testing.assert_allclose(single.array, double.array, rtol=1.3e-6, atol=1e-5)


@each_case
def test_gradient_matches_richardson_differences(case: Case) -> None:
    result = results_of(case.call(*case.inputs()))[0]
    if case.order and result.dtype == np.float64:
        check_gradient(case.call, *case.inputs(), order=case.order)


@each_case
def test_inputs_are_unchanged(case: Case) -> None:
    inputs = case.inputs()
    before = [t.array.copy() for t in inputs]
    leaves = [t.requires_grad_() if t.dtype == np.float64 else t for t in inputs]
    for result in results_of(case.call(*leaves)):
        if result.requires_grad:
            result.sum().backward(retain_graph=True)
    for t, old in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(t.array, old)


@each_case
def test_strides_do_not_matter(case: Case) -> None:
    """The same numbers in reversed, Fortran-ordered memory; sums may round in another order."""
    inputs = case.inputs()
    strided = [Tensor.of(np.flip(np.flip(t.array).copy(order="F"))) for t in inputs]
    for ours, straight in zip(results_of(case.call(*strided)), results_of(case.call(*inputs)), strict=True):
        np.testing.assert_allclose(ours.array, straight.array, rtol=1e-12, atol=1e-14)


@each_case
def test_a_recorded_call_can_be_replayed(case: Case) -> None:
    calls = []

    def keep(call) -> None:
        call.run()
        calls.append(call)

    with launching(keep):
        case.call(*case.inputs())
    for call in calls:
        outs = call.out if isinstance(call.out, tuple) else (call.out,)
        before = [a.copy() for a in outs]
        for a in outs:
            a.fill(0)
        call.run()
        for a, old in zip(outs, before, strict=True):
            np.testing.assert_array_equal(a, old)


@pytest.mark.parametrize(
    ("case", "shapes", "message"), [(c, *r) for c in CASES for r in c.rejects], ids=lambda x: str(x).replace(" ", "")
)
def test_bad_input_is_named(case: Case, shapes, message: str) -> None:
    with pytest.raises(MinidlError, match=message) as raised:
        case.call(*case.inputs(shapes=shapes))
    assert len(raised.value.args) == 1  # a stray comma makes a tuple, and `match` does not see it


# Ops that no function of the table asks for, and where they are tested.
ELSEWHERE = {
    "ops/test_fusion.py": {
        "batch_normalize_add_relu", "batch_normalize_add_relu_grad", "conv_then", "conv_then_relu",
        "conv_transpose_relu", "linear_then", "linear_then_kept",
    },
    "ops/test_group_norm.py": {"group_normalize", "group_normalize_grad"},
    "ops/test_total_loss.py": {"total_loss_grad"},
    "ops/test_attention.py": {"attention", "attention_grad"},
    "core/test_in_place.py": {"slice_put"},
}  # fmt: skip


def test_every_op_with_a_kernel_is_reached_by_a_case() -> None:
    """Runs every row, forward and backward as often as it offers, and looks which ops were launched."""
    seen: set[str] = set()

    def note(call) -> None:
        seen.add(call.op.name)
        call.run()

    with launching(note):
        for case in CASES:
            test_gradient_matches_richardson_differences(case)
    ours = {name: op for name, op in registry.ops.items() if op.__module__.startswith("minidl.")}
    ops_with_kernels = {name for name, op in ours.items() if hasattr(op, "reference")}
    updates = {
        name for name in ops_with_kernels if name.endswith(("_", "_step", "_squares"))
    }  # tested by their own files
    missing = ops_with_kernels - updates - seen
    assert missing == set.union(*ELSEWHERE.values()), f"rows of cases.py reach all but {sorted(missing)}"


def test_every_case_is_public() -> None:
    for case in CASES:
        name = case.function.__name__
        assert case.function in (getattr(minidl, name, None), getattr(minidl.linalg, name, None))
