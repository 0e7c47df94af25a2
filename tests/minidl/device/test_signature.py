"""Signatures are read strictly, and say which argument does not fit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from minidl.device.signature import Parameter, mismatch, parse
from minidl.errors import KernelError

FLOATS = {"T": ("float32", "float64")}


def test_a_signature_is_read() -> None:
    signature = parse("T[:, ::1], const int64[::1], intp, T", FLOATS, "k")
    assert signature.parameters == (
        Parameter("T", 2, const=False),
        Parameter("int64", 1, const=True),
        Parameter("intp", None, const=False),
        Parameter("T", None, const=False),
    )
    assert list(signature.choices()) == [("float32",), ("float64",)]
    assert [str(p) for p in signature.with_types(("float64",))] == [
        "float64[:, ::1]",
        "const int64[::1]",
        "intp",
        "float64",
    ]


def test_two_variables_make_a_product_of_choices() -> None:
    signature = parse("T[::1], I[::1]", {**FLOATS, "I": ("int32", "int64")}, "k")
    assert len(list(signature.choices())) == 4
    assert signature.choice_of((np.zeros(1), np.zeros(1, np.int32))) == ("float64", "int32")


@pytest.mark.parametrize(
    ("text", "variables", "message"),
    [
        ("T[:, ::1], real", FLOATS, "'real' is not a type"),
        ("T[:, :]", FLOATS, "must be C-contiguous"),
        ("float32[::1], T", FLOATS, "no array"),
        ("T[::1]", {"T": ("float32", "float16")}, "T cannot be 'float16'"),
        ("T[::1", FLOATS, "is not a type"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, variables: dict[str, Sequence[str]], message: str) -> None:
    with pytest.raises(KernelError, match=message):
        parse(text, variables, "k")


READ_ONLY = np.zeros((2, 3))
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("out", "x", "message"),
    [
        (np.zeros((2, 3)), np.zeros(3), None),
        (np.zeros((2, 3)), np.zeros(3, np.float32), "x must be const float64[::1], got float32 of shape (3,)"),
        (np.zeros((3, 2)).T, np.zeros(3), "out must be float64[:, ::1], got an array that is not C-contiguous"),
        (READ_ONLY, np.zeros(3), "out must be float64[:, ::1], got a read-only array"),
        (np.zeros((2, 3)), READ_ONLY[0], None),
        (np.zeros((2, 3)), 3, "x must be const float64[::1], got int"),
    ],
)
def test_the_argument_that_does_not_fit_is_named(out: Any, x: Any, message: str | None) -> None:
    parameters = parse("float64[:, ::1], const float64[::1]", {}, "k").parameters
    problem = mismatch(parameters, (out, x), ("out", "x"))
    assert problem is None if message is None else (problem or "").startswith(message)
