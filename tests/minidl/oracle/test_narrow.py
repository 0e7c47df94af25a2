"""float16 and bfloat16 against PyTorch's samples: types as PyTorch's, numbers near its float64 result.

PyTorch's own results in 16 bits are no measure by themselves: some of its kernels round in the middle. So ours may be
one rounding away from its float64 result of the same numbers, or as far away as PyTorch's own is.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from minidl import Tensor  # noqa: E402 - they need PyTorch
from tests.minidl.narrow import distance  # noqa: E402
from tests.minidl.oracle.bridge import DTYPES, NotHere, array_of, find, ours, tensors  # noqa: E402
from tests.minidl.oracle.excuses import Sample, excuse_for, only_shapes  # noqa: E402
from tests.minidl.oracle.forms import FORMS  # noqa: E402
from tests.minidl.oracle.samples import _calls, _symmetric, full_name, shared_ops  # noqa: E402

NARROW = (torch.bfloat16, torch.float16)
OPS = [op for op in shared_ops() if op.dtypes.intersection(NARROW) and not only_shapes(full_name(op))]


@pytest.mark.parametrize("op", OPS, ids=full_name)
def test_results_are_one_rounding_from_the_float64_ones(op) -> None:
    """The first three samples of each type; gradients are looked at in `ops/test_narrow.py`."""
    for dtype in op.dtypes.intersection(NARROW):
        for call in itertools.islice(_calls(op, dtype), 3):
            for given, theirs, exact in compared(op, call, dtype):
                assert given.dtype == DTYPES[theirs.dtype], call
                if theirs.dtype == dtype:
                    mine, wanted = given.detach().array.astype(float), array_of(exact).astype(float)
                    off = distance(mine, wanted, given.dtype)
                    theirs_off = np.abs(array_of(theirs).astype(float) - wanted)
                    worse = ~(off <= 0.5) & ~(theirs_off >= np.abs(mine - wanted)) & ~np.isnan(theirs_off)
                    assert not worse.any(), f"{call}: {off[worse].max()} steps"


def compared(op: Any, call: Sample, dtype: torch.dtype) -> Iterator[tuple[Tensor, torch.Tensor, torch.Tensor]]:
    """Our results of one call, PyTorch's, and PyTorch's of the same numbers in float64; none where it has none."""
    if excuse_for(call):
        return
    double = call._replace(input=widened(call.input, dtype), args=widened(call.args, dtype),
                           kwargs=widened(call.kwargs, dtype))  # fmt: skip
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            arguments = ours(((call.input, *call.args), call.kwargs))
            theirs, exact = (_symmetric(op)(op.op, c.input, *c.args, **c.kwargs) for c in (call, double))
        except (NotHere, RuntimeError):  # not in the engine, or not in PyTorch in one of the two types
            return
        given = _symmetric(op)(FORMS.get(call.name, find(op.name)), *arguments[0], **arguments[1])
        if call.process is not None:
            given, theirs, exact = (call.process(result) for result in (given, theirs, exact))
    yield from zip(tensors(given, Tensor), tensors(theirs, torch.Tensor), tensors(exact, torch.Tensor), strict=True)


def widened(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().double() if value.dtype == dtype else value
    if isinstance(value, dict):
        return {name: widened(item, dtype) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(widened(item, dtype) for item in value)
    return torch.float64 if value == dtype else value
