"""Proof for ops and kernels: cases, gradients, Jacobians, purity, layouts, special values, exact sums, ULPs.

Public, so that a plugin or a lab exercise is tested the way the built-in ops are: `check_case` runs all checks on one
row, and each is there alone too.
"""

from minidl.testing.case import Case, draw
from minidl.testing.checks import CHECKS, check_case, does_not_apply
from minidl.testing.gradient import check_gradient
from minidl.testing.jacobian import check_forward_mode, check_jacobian
from minidl.testing.kernels import KernelReport, check_kernel
from minidl.testing.launches import check_exact, largest_errors, ulps
from minidl.testing.layouts import LAYOUTS, check_empty, check_layouts
from minidl.testing.purity import check_memory, check_purity, check_saved, check_threads
from minidl.testing.special_values import check_special_values, special_values

__all__ = [
    "CHECKS", "LAYOUTS", "Case", "KernelReport", "check_case", "check_empty", "check_exact", "check_forward_mode",
    "check_gradient", "check_jacobian", "check_kernel", "check_layouts", "check_memory", "check_purity", "check_saved",
    "check_special_values", "check_threads", "does_not_apply", "draw", "largest_errors", "special_values", "ulps",
]  # fmt: skip
