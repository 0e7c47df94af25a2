"""All checks, by name, for one row of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from minidl.core import Tensor
from minidl.device import poisoned_memory
from minidl.errors import KernelError
from minidl.testing.case import Case
from minidl.testing.gradient import check_gradient, gradient_of
from minidl.testing.jacobian import check_forward_mode, check_jacobian
from minidl.testing.launches import check_exact
from minidl.testing.layouts import check_empty, check_layouts
from minidl.testing.outcome import as_tuple
from minidl.testing.purity import check_memory, check_purity, check_saved, check_threads
from minidl.testing.special_values import check_special_values

__all__ = ["CHECKS", "check_case", "does_not_apply"]


def _values(case: Case) -> None:
    """float64: one rounding of each operation, so 1e-12 of the value."""
    assert case.expected is not None
    inputs = case.inputs()
    with poisoned_memory():
        given = as_tuple(case.call(*inputs))
    wanted = case.expected(*[t.array for t in inputs], *case.args, **case.params)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    if len(given) != len(wanted):
        raise KernelError(f"gives {len(given)} results, expected {len(wanted)}")
    for ours, theirs in zip(given, wanted, strict=True):
        if ours.shape != np.shape(theirs):
            raise KernelError(f"the shape of the result is {ours.shape}, expected {np.shape(theirs)}")
        wrong = ~np.isclose(ours.array, theirs, rtol=1e-12, atol=1e-14, equal_nan=True)
        if wrong.any():
            place = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), wrong.shape))
            raise KernelError(f"at {place} it gives {ours.array[place]:.9g}, expected {np.asarray(theirs)[place]:.9g}")


def _float32(case: Case) -> None:
    """rtol 1.3e-6 and atol 1e-5 are PyTorch's own bounds for float32."""
    exact = as_tuple(case.call(*case.inputs()))
    given = as_tuple(case.call(*case.inputs(dtype=np.float32)))
    for single, double in zip(given, exact, strict=True):
        wanted = np.float32 if double.dtype == np.float64 else double.dtype
        if single.dtype != wanted:
            raise KernelError(f"the result of float32 is {single.dtype}, expected {np.dtype(wanted)}")
        if double.dtype == np.float64 and not np.allclose(single.array, double.array, rtol=1.3e-6, atol=1e-5):
            raise KernelError("float32 differs from float64 by more than 1.3e-6 of the value and 1e-5")


def _special(case: Case) -> None:
    expected = case.special or case.expected
    assert expected is not None
    check_special_values(
        lambda *xs: case.call(*xs), lambda *xs: expected(*xs, *case.args, **case.params), len(case.shapes)
    )


def _second_order(case: Case) -> None:
    """Of more than a hundred numbers along random directions: their Hessians would take minutes."""
    inputs = case.inputs()
    is_small = sum(x.array.size for x in inputs if x.is_floating_point()) <= 100
    (check_jacobian if is_small else check_gradient)(gradient_of(case.call), *inputs, rtol=1e-5, atol=1e-7)


# What each check asks, in the order from the plain to the subtle.
CHECKS: Mapping[str, Callable[[Case], object]] = MappingProxyType({
    "values": _values,
    "float32": _float32,
    "special values": _special,
    "purity": lambda case: check_purity(case.call, *case.inputs()),
    "memory": lambda case: check_memory(case.call, *case.inputs()),
    "layouts": lambda case: check_layouts(case.call, *case.inputs()),
    "size 0": lambda case: check_empty(case.call, *case.inputs()),
    "whole numbers": lambda case: check_exact(case.call, *case.whole_inputs()),
    "threads": lambda case: check_threads(case.call, *case.inputs(dtype=np.float32)),
    "saved values": lambda case: check_saved(case.call, *case.inputs()),
    "gradient": lambda case: check_gradient(case.call, *case.inputs()),
    "jacobian": lambda case: check_jacobian(case.call, *case.inputs()),
    "second order": _second_order,
    "forward mode": lambda case: check_forward_mode(case.call, *case.inputs()),
})  # fmt: skip


def does_not_apply(case: Case, check: str) -> str | None:
    """Why this check has nothing to ask of the row; None if it has."""
    if check == "values" and case.expected is None:
        return "no expected function is given"
    if check == "special values" and case.special is None and not _of_floats(case.expected):
        return "no function is given that says what special values give"
    if check in ("gradient", "jacobian", "second order", "forward mode", "saved values"):
        if not case.order or not _is_differentiable(case):
            return "it has no gradient"
        if check in ("second order", "forward mode") and case.order < 2:
            return "its gradient cannot be differentiated again"
    return None


def _of_floats(function: object) -> bool:
    """Whether it is one of NumPy's functions of single floating numbers, which say what special values give."""
    return isinstance(function, np.ufunc) and function.signature is None and any("d" in t for t in function.types)


def _is_differentiable(case: Case) -> bool:
    leaves = [Tensor.of(t.array).requires_grad_(t.is_floating_point()) for t in case.inputs()]
    return any(t.requires_grad for t in as_tuple(case.call(*leaves)))


def check_case(case: Case) -> dict[str, str]:
    """Run every check that applies to one row.

    Returns:
        For each check "passed", or why it does not apply.

    Raises:
        GradError: if a gradient is wrong.
        KernelError: if anything else is.

    >>> import minidl
    >>> set(check_case(Case(minidl.tanh, [(2, 3)], expected=np.tanh)).values())
    {'passed'}
    """
    found = {}
    for name, check in CHECKS.items():
        reason = does_not_apply(case, name)
        if reason is None:
            check(case)
        found[name] = reason or "passed"
    return found
