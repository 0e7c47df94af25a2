"""A planted fault: code that is nearly right, the lesson in it, and the check that must find it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.autograd import Function
from minidl.core import Tensor, registry, use_kernel
from minidl.errors import GradError, KernelError
from minidl.testing import CHECKS, Case

PLANTED: list[Fault] = []


@dataclass(frozen=True)
class Fault:
    """One way to be wrong.

    Attributes:
        code: what is wrong, as a plain function.
        kind: "gradient" where the values are right, "value", or "kernel".
        found_by: the name of the check that must find it.
        case: the row on which the fault is tried.
        truth: the same row for the right function.
        installed: a block in which the fault is at work.
    """

    code: Callable[..., Any]
    kind: str
    found_by: str
    case: Case
    truth: Case
    installed: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def name(self) -> str:
        return self.code.__name__

    @property
    def lesson(self) -> str:
        return " ".join((self.code.__doc__ or "").split())

    @property
    def source(self) -> str:
        """The code as it is read, with the line that says what it should be, without the docstring."""
        lines = inspect.getsource(self.code).splitlines()
        opened = next(i for i, line in enumerate(lines) if line.strip().startswith('"""'))
        closed = next(i for i in range(opened, len(lines)) if lines[i].rstrip().endswith('"""'))
        return "\n".join(lines[:opened] + lines[closed + 1 :])

    def verdict(self, check: str) -> str | None:
        """What the check says against it; None if it finds nothing. Other errors are no finding: they come through."""
        try:
            with self.installed(), np.errstate(all="ignore"):
                CHECKS[check](self.case)
        except (GradError, KernelError) as error:
            return str(error)
        return None


def wrong_gradient(
    truth: Callable[..., Any], *shapes: tuple[int, ...], by: str = "jacobian", saves: bool = True, **row: Any
) -> Any:
    """Plant a function that returns its result, which is right, and its pullback, which is not.

    With `saves` the inputs are saved where changes of them are noticed.
    """

    def plant(code: Callable[..., Any]) -> Callable[..., Any]:
        return _plant(code, "gradient", by, _as_step(code, saves), truth, shapes, row)

    return plant


def wrong_value(truth: Callable[..., Any], *shapes: tuple[int, ...], by: str = "values", **row: Any) -> Any:
    """Plant a function of tensors that gives the wrong result; its gradient is that of what it computes."""

    def plant(code: Callable[..., Any]) -> Callable[..., Any]:
        return _plant(code, "value", by, code, truth, shapes, row)

    return plant


def wrong_kernel(op: str, truth: Callable[..., Any], *shapes: tuple[int, ...], by: str, **row: Any) -> Any:
    """Plant a kernel, `kernel(out, *arrays, **params)`, in the place of that of `op`."""
    registry.find_op(op)  # a slip in the name must not look like a finding

    def plant(code: Callable[..., Any]) -> Callable[..., Any]:
        return _plant(code, "kernel", by, truth, truth, shapes, row, lambda: use_kernel(op, code))

    return plant


def _plant(
    code: Callable[..., Any], kind: str, found_by: str, function: Any, truth: Any, shapes: Any, row: dict[str, Any],
    installed: Any = nullcontext,
) -> Callable[..., Any]:  # fmt: skip
    if kind != "kernel":
        row = {"expected": lambda *arrays: _arrays(truth(*map(Tensor.of, arrays)))} | row
    PLANTED.append(Fault(code, kind, found_by, Case(function, shapes, **row), Case(truth, shapes, **row), installed))
    return code


def _as_step(code: Callable[..., Any], saves: bool) -> Callable[..., Any]:
    """A function of tensors whose backward is the pullback that `code` returns beside its result."""

    def forward(ctx: Any, *tensors: Tensor) -> Any:
        result, ctx.pullback = code(*tensors)
        ctx.save_for_backward(*tensors[: len(tensors) * saves])
        return result

    def backward(ctx: Any, *g: Tensor) -> Any:
        _ = ctx.saved_tensors  # raises if one has been changed since
        return ctx.pullback(*g)

    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    step: Any = type(code.__name__, (Function,), methods)
    return step.apply


def _arrays(results: Any) -> Any:
    return tuple(r.array for r in results) if isinstance(results, tuple) else results.array
