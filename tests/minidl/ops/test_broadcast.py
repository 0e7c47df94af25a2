"""Functions of two numbers, for every way in which two shapes go together: values and the full Jacobian."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl.testing import Case, check_jacobian, does_not_apply, draw
from tests.minidl.ops.cases import CASES

PAIRS = [
    ((), ()), ((), (3,)), ((1,), (4,)), ((3,), (2, 3)), ((2, 1), (1, 3)), ((2, 1, 3), (4, 1)), ((2, 3), (2, 3)),
    ((1, 1, 1), (2,)), ((0, 3), (1, 3)), ((2, 1), (2, 0)),
]  # fmt: skip
OF_TWO = [case for case in CASES if len(case.shapes) == 2 and does_not_apply(case, "special values") is None]


# They jump where one number is a multiple of the other; their row in the table stays clear of that.
JUMPING = (minidl.floor_divide, minidl.fmod, minidl.remainder)
SMOOTH = [case for case in OF_TWO if does_not_apply(case, "jacobian") is None and case.function not in JUMPING]


@pytest.mark.parametrize("shapes", PAIRS, ids=str)
@pytest.mark.parametrize("case", OF_TWO, ids=str)
def test_two_shapes_broadcast(case: Case, shapes) -> None:
    inputs = draw(shapes, 2, low=case.low, high=case.high)
    wanted = (case.expected or case.special)(*[x.array for x in inputs])
    given = case.call(*inputs)
    assert given.shape == np.shape(wanted)
    np.testing.assert_allclose(given.array, wanted, rtol=1e-12)
    if case in SMOOTH:
        check_jacobian(case.call, *inputs)


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_one_tensor_in_both_places_gets_both_gradients(case: Case) -> None:
    """At f(x, x) the larger of two is a tie, whose gradient is shared."""
    (x,) = draw([(2, 3)], 3, low=max(case.low, 0.6), high=case.high)
    check_jacobian(lambda x: case.call(x, x), x)
    check_jacobian(lambda x: case.call(x, x * 2), x)
