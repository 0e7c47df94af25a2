"""Functions of two numbers, for every way in which two shapes go together: values and the full Jacobian."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl.testing import LAYOUTS, Case, check_jacobian, does_not_apply, draw
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


# Long enough for the compiled loop: rows of one number, of a few, of about a chunk, and of several; up to six
# dimensions, in which the inputs take turns.
LONG = [
    ((4, 32, 16, 17), (4, 32, 1, 1)), ((4, 32, 16, 17), (4, 1, 16, 17)), ((9, 33, 31), (33, 1)), ((999, 33), (33,)),
    ((3, 5, 7, 11, 13), (5, 1, 11, 1)), ((3, 5, 7, 11, 13), (3, 1, 7, 1, 13)), ((40, 90, 1), (1, 90, 3)),
    ((200, 1, 7), (1, 90, 7)), ((5, 1, 3000), (1, 7, 1)), ((30000,), (1,)), ((1, 30000), (7, 1)), ((100, 200), ()),
    ((3, 4097), (2, 3, 4097)), ((4, 1, 1500), (1, 33, 1500)), ((17, 1, 3), (1, 1001, 1)),
    ((2, 9, 1, 9, 1, 5), (2, 1, 8, 1, 8, 5)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shapes", LONG, ids=str)
def test_long_inputs_broadcast_as_numpy_has_it(shapes, dtype) -> None:
    """Differences and quotients round once: the same bits, whichever input is repeated, however the two lie."""
    rng = np.random.default_rng(5)
    arrays = [rng.standard_normal(s).astype(dtype) for s in shapes]
    lies = {"as NumPy's": np.asarray, **LAYOUTS}
    for x, y in (arrays, arrays[::-1]):
        for name, lay in lies.items():
            a, b = minidl.Tensor.of(lay(x)), minidl.Tensor.of(lay(y))
            np.testing.assert_array_equal((a - b).array, x - y, err_msg=name)
            np.testing.assert_array_equal((a / b).array, x / y, err_msg=name)
