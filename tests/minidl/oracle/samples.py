"""One op against PyTorch's samples of it: values, gradients, and wrong calls."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minidl
from minidl import Tensor
from minidl.errors import MinidlError
from tests.minidl.oracle.bridge import NotHere, find, ours, tensors
from tests.minidl.oracle.compare import check_gradients, check_results
from tests.minidl.oracle.excuses import VALUES_ONLY, Sample, bounds_of, excuse_for, excused_error, only_shapes
from tests.minidl.oracle.forms import FORMS
from tests.minidl.oracle.pytorch import op_db, torch

DTYPES = (torch.float64, torch.float32, torch.int64, torch.bool)


@dataclass
class Verdict:
    """What became of the samples of one op."""

    name: str
    passed: int = 0
    gradients: int = 0
    rejected: int = 0
    excused: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    @property
    def samples(self) -> int:
        return self.passed + self.rejected + self.excused.total() + len(self.failed)


def shared_ops() -> list[Any]:
    """The entries of PyTorch's list whose name is found here."""
    return [op for op in op_db if find(op.name) is not None]


def full_name(op: Any) -> str:
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else str(op.name)


def judge(op: Any, limit: int | None = None) -> Verdict:
    """Run the samples of `op`, at most `limit` of each element type and of wrong calls."""
    verdict = Verdict(full_name(op))
    for dtype in DTYPES:
        if dtype in op.dtypes:
            for call in itertools.islice(_calls(op, dtype), limit):
                _judge_sample(op, call, verdict)
    for call, kind in itertools.islice(_wrong_calls(op), limit):
        _judge_wrong_call(op, call, kind, verdict)
    return verdict


def _calls(op: Any, dtype: torch.dtype) -> Iterator[Sample]:
    torch.manual_seed(0)
    differentiable = op.supports_autograd and dtype.is_floating_point
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for sample in op.sample_inputs("cpu", dtype, requires_grad=differentiable):
            yield Sample(full_name(op), dtype, sample.input, sample.args, sample.kwargs, sample.output_process_fn_grad)


def _wrong_calls(op: Any) -> Iterator[tuple[Sample, Any]]:
    if op.error_inputs_func is not None:
        torch.manual_seed(0)
        for error in op.error_inputs("cpu"):
            sample = error.sample_input
            yield Sample(full_name(op), None, sample.input, sample.args, sample.kwargs, None), error.error_type


def _judge_sample(op: Any, call: Sample, verdict: Verdict) -> None:
    if reason := excuse_for(call):
        verdict.excused[reason] += 1
        return
    try:
        verdict.gradients += _agrees(op, call)
        verdict.passed += 1
    except NotHere as reason:
        verdict.excused[str(reason)] += 1
    except Exception as error:  # whatever goes wrong in our code is a failure of the op
        verdict.failed.append(f"{call}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _agrees(op: Any, call: Sample) -> int:
    """Compare one call; how many gradients were compared."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return _agrees_with(op, call, call)
        except AssertionError:
            if call.dtype != torch.float32 or only_shapes(call.name):
                raise
        # PyTorch's float32 has roundings of its own. What counts is the distance from its float64 of the same numbers.
        return _agrees_with(op, call, call.in_double(), slack=8.0)


def _agrees_with(op: Any, call: Sample, theirs: Sample, slack: float = 1.0) -> int:
    """Compare our result of `call` with PyTorch's of `theirs`."""
    arguments = ours(((call.input, *call.args), call.kwargs))
    leaves = tensors((theirs.input, theirs.args, theirs.kwargs), torch.Tensor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = _symmetric(op)(op.op, theirs.input, *theirs.args, **theirs.kwargs)
        given = _symmetric(op)(FORMS.get(call.name, find(op.name)), *arguments[0], **arguments[1])
        if call.process is not None:
            given, wanted = call.process(given), call.process(wanted)
        slack *= bounds_of(call)
        check_results(given, wanted, values=not only_shapes(call.name), dtypes=call is theirs, slack=slack)
        if only_shapes(call.name) or call.name in VALUES_ONLY:
            return 0
        return check_gradients(given, wanted, tensors(arguments, Tensor), leaves, slack)


def _symmetric(op: Any) -> Any:
    """PyTorch's wrapper that makes the input of ops on symmetric matrices symmetric; for others a plain call."""
    if op.gradcheck_wrapper.__name__ == "gradcheck_wrapper_hermitian_input":
        return op.gradcheck_wrapper
    return lambda function, *args, **kwargs: function(*args, **kwargs)


def _judge_wrong_call(op: Any, call: Sample, kind: Any, verdict: Verdict) -> None:
    if reason := excused_error(call):
        verdict.excused[reason] += 1
        return
    try:
        arguments = ours(((call.input, *call.args), call.kwargs))
    except NotHere as reason:
        verdict.excused[str(reason)] += 1
        return
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            FORMS.get(call.name, find(op.name))(*arguments[0], **arguments[1])
    except (MinidlError, TypeError):
        verdict.rejected += 1
    except Exception as error:
        verdict.failed.append(f"wrong call {call}: raised {type(error).__name__}: {error}, no sentence of ours")
    else:
        verdict.failed.append(f"wrong call {call}: was not refused")


__all__ = ["Verdict", "full_name", "judge", "minidl", "shared_ops"]
