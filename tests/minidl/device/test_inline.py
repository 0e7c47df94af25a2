"""Helpers mean the same in Python and in compiled kernels."""

from typing import Any

import numpy as np
import pytest

from minidl.device import by_dtype, inline, intrinsic, kernel, numba_status

pytestmark = [pytest.mark.numba, pytest.mark.skipif(not numba_status(), reason="Numba is not installed")]


@inline
def one(x: Any) -> Any:
    return x + 1


@inline
def two(x: Any) -> Any:
    return x + 2


step = by_dtype(float32=one, float64=two)


@kernel("T[::1]", T=("float32", "float64", "int32"))
def step_all(begin: int, end: int, out: Any) -> None:
    for i in range(begin, end):
        out[i] = step(out[i])


@pytest.mark.parametrize(("dtype", "expected"), [(np.float32, 1), (np.float64, 2), (np.int32, 2)])
def test_the_type_of_the_argument_chooses_the_body(dtype: Any, expected: int) -> None:
    compiled, plain = np.zeros(2, dtype), np.zeros(2, dtype)
    step_all(0, 2, compiled)
    step_all.py_func(0, 2, plain)
    assert compiled.tolist() == plain.tolist() == [expected, expected]


def emit_multiply_add(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(builder.fmul(args[0], args[1]), args[2])

    return a(a, b, c), code


@intrinsic(emit_multiply_add)
def multiply_add(a: Any, b: Any, c: Any) -> Any:
    return a * b + c


def multiply_add_all(begin: int, end: int, out: Any) -> None:
    for i in range(begin, end):
        out[i] = multiply_add(out[i], out[i], out[i])


def test_llvm_code_of_ones_own_can_be_called_and_cached() -> None:
    out = np.array([3.0])
    for expected in ("compiled", "loaded"):
        made = kernel("float64[::1]")(multiply_add_all)
        assert made.prepare(()) == expected
        made(0, 1, out)
    assert out[0] == 12 * 12 + 12
    made.py_func(0, 1, out)
    assert out[0] == 156 * 156 + 156
