"""The checks that every op must pass, written once; `cases.py` has the rows."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import minidl
from minidl.core import Tensor, launching, registry
from minidl.errors import MinidlError
from minidl.testing import CHECKS, Case, does_not_apply
from minidl.testing.outcome import as_tuple
from tests.minidl.ops.cases import CASES

each_case = pytest.mark.parametrize("case", CASES, ids=str)


@each_case
@pytest.mark.parametrize("check", CHECKS)
def test_a_row_passes_the_check(case: Case, check: str) -> None:
    """What a check asks, and its bounds with their reasons, stand with it in `minidl.testing`."""
    if does_not_apply(case, check) is None:
        CHECKS[check](case)


@each_case
@pytest.mark.parametrize("check", [c for c in CHECKS if c not in ("jacobian", "second order")])
def test_a_row_passes_the_check_by_its_references(case: Case, check: str) -> None:
    """As if Numba were not installed. The derivatives are the same ops."""
    if does_not_apply(case, check) is None:
        with minidl.use_numba(False):
            CHECKS[check](case)


# Why a check may leave rows alone, and what share of them at most. There is no other way out of a check.
LEFT_ALONE = {
    "no expected function is given": 0.45,  # values are compared with PyTorch's
    "no function is given that says what special values give": 0.80,  # they belong to functions of single numbers
    "it has no gradient": 0.15,
    "its gradient cannot be differentiated again": 0.03,
}


@pytest.mark.parametrize("check", CHECKS)
def test_a_check_leaves_rows_alone_for_few_reasons(check: str) -> None:
    reasons = Counter(filter(None, (does_not_apply(case, check) for case in CASES)))
    assert {reason for reason, rows in reasons.items() if rows > LEFT_ALONE.get(reason, 0) * len(CASES)} == set()


@each_case
def test_strides_do_not_matter(case: Case) -> None:
    """The same numbers in reversed, Fortran-ordered memory; sums may round in another order.

    Number by number, where the check of layouts has one bound for all numbers of a result.
    """
    inputs = case.inputs()
    strided = [Tensor.of(np.flip(np.flip(t.array).copy(order="F"))) for t in inputs]
    for ours, straight in zip(as_tuple(case.call(*strided)), as_tuple(case.call(*inputs)), strict=True):
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
        "batch_normalize_add_relu", "batch_normalize_add_relu_grad", "batch_normalize_at_rest_add_relu",
        "batch_normalize_at_rest_grad", "conv_then", "conv_then_activated", "conv_then_relu", "conv_transpose_relu",
        "linear_add", "linear_then", "linear_then_kept", "feed_forward",
    },
    "ops/test_group_norm.py": {"group_moments", "group_normalize", "group_normalize_grad"},
    "ops/test_total_loss.py": {"total_loss_grad"},
    "ops/test_soft_cross_entropy.py": {"soft_cross_entropy", "soft_cross_entropy_grad"},
    "ops/test_attention.py": {"attention", "attention_grad"},
    "core/test_in_place.py": {"slice_put"},
    "nn/test_loss_family.py": {"ctc", "ctc_grad"},
}  # fmt: skip


def test_every_op_with_a_kernel_is_reached_by_a_case() -> None:
    """Runs every row, forward and backward as often as it offers, and looks which ops were launched."""
    seen: set[str] = set()

    def note(call) -> None:
        seen.add(call.op.name)
        call.run()

    with launching(note):
        for case in CASES:
            for check in ("values", "float32", "gradient", "forward mode"):  # forward mode is backward twice
                test_a_row_passes_the_check(case, check)
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
