"""Promotion is what the page says, what the ops do, and what PyTorch does."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from docs.reference.promotion import NAMES, NUMBERS, PAGE, SINGLES, page
from minidl.errors import DTypeError

TYPES = [getattr(minidl, name) for name in NAMES]
# PyTorch promotes these with nothing but floats.
UNSIGNED = ("uint16", "uint32", "uint64")


def test_the_page_says_what_the_code_does() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


def test_ops_do_what_promote_types_says() -> None:
    for a in TYPES:
        for b in TYPES:
            x, y = minidl.ones(2, dtype=a), minidl.ones(2, dtype=b)
            wanted = minidl.promote_types(a, b)
            assert (x * y).dtype == minidl.result_type(x, y) == wanted
            assert minidl.where(minidl.tensor([True, False]), x, y).dtype == wanted
            assert minidl.cat([x, y]).dtype == wanted


def test_ops_do_what_result_type_says_beside_single_numbers() -> None:
    singles = [*NUMBERS.values(), *(minidl.ones(dtype=getattr(minidl, name)) for name in SINGLES)]
    for a in TYPES:
        for x in (minidl.ones(2, dtype=a), minidl.ones(dtype=a)):
            for y in singles:
                wanted = minidl.result_type(x, y)
                assert (x * y).dtype == wanted, (x, y)
                assert (y * x).dtype == wanted, (y, x)


def theirs(name: str):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    return getattr(torch, name.rstrip("_"))


def test_promote_types_and_can_cast_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    compared = 0
    for a in NAMES:
        for b in NAMES:
            ours = getattr(minidl, a), getattr(minidl, b)
            assert minidl.can_cast(*ours) == torch.can_cast(theirs(a), theirs(b)), (a, b)
            try:
                wanted = torch.promote_types(theirs(a), theirs(b))
            except RuntimeError:
                assert a in UNSIGNED or b in UNSIGNED
                continue
            assert minidl.promote_types(*ours).name == str(wanted).removeprefix("torch."), (a, b)
            compared += 1
    assert compared > 120


def test_result_type_is_that_of_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    for a in NAMES:
        for shape in ((2,), ()):
            x, their_x = minidl.ones(shape, dtype=getattr(minidl, a)), torch.ones(shape, dtype=theirs(a))
            for y in NUMBERS.values():
                wanted = str(torch.result_type(their_x, y)).removeprefix("torch.")
                assert minidl.result_type(x, y).name == minidl.result_type(y, x).name == wanted, (x, y)
            for b in SINGLES:
                try:
                    wanted = str(torch.result_type(their_x, torch.ones((), dtype=theirs(b)))).removeprefix("torch.")
                except RuntimeError:
                    assert a in UNSIGNED
                    continue
                assert minidl.result_type(x, minidl.ones((), dtype=getattr(minidl, b))).name == wanted, (x, b)
    assert minidl.result_type(2.5, 3) == minidl.float32
    assert minidl.result_type(True, 3) == minidl.int64


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_finfo_is_that_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, wanted = minidl.finfo(getattr(minidl, name)), torch.finfo(theirs(name))
    for entry in ("bits", "eps", "max", "min", "tiny", "smallest_normal", "resolution"):
        assert getattr(ours, entry) == pytest.approx(getattr(wanted, entry), rel=1e-15), entry
    assert ours.dtype == wanted.dtype


@pytest.mark.parametrize("name", ["uint8", "int8", "int16", "int32", "int64"])
def test_iinfo_is_that_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, wanted = minidl.iinfo(getattr(minidl, name)), torch.iinfo(theirs(name))
    assert (ours.bits, ours.max, ours.min, ours.dtype) == (wanted.bits, wanted.max, wanted.min, wanted.dtype)


def test_the_wrong_question_is_named() -> None:
    with pytest.raises(DTypeError, match="finfo: needs a floating type, got int8; iinfo has"):
        minidl.finfo(minidl.int8)
    with pytest.raises(DTypeError, match="iinfo: needs a type of whole numbers, got float32; finfo has"):
        minidl.iinfo(minidl.float32)
    with pytest.raises(DTypeError, match="result_type: needs tensors or numbers, got str"):
        minidl.result_type(minidl.ones(1), "1")


@pytest.mark.parametrize("dtype", [minidl.float16, minidl.bfloat16], ids=str)
def test_makers_and_casts(dtype) -> None:
    made = [
        minidl.zeros(2, dtype=dtype), minidl.ones(2, dtype=dtype), minidl.full((2,), 1.5, dtype=dtype),
        minidl.arange(3, dtype=dtype), minidl.linspace(0, 1, 3, dtype=dtype), minidl.eye(2, dtype=dtype),
        minidl.rand(2, dtype=dtype), minidl.randn(2, dtype=dtype), minidl.tensor([1, 2.5], dtype=dtype),
        minidl.ones(2).to(dtype), minidl.ones(2).half() if dtype == minidl.float16 else minidl.ones(2).bfloat16(),
    ]  # fmt: skip
    for x in made:
        assert x.dtype == dtype
        assert x.is_floating_point()
        assert minidl.is_floating_point(x)
        assert x.element_size() == 2
        assert isinstance(x.tolist()[0], (float, list))
        assert np.asarray(x, dtype=np.float32).dtype == np.float32
    layer = minidl.nn.Linear(2, 3)
    layer = layer.half() if dtype == minidl.float16 else layer.bfloat16()
    assert {t.dtype for t in layer.state_dict().values()} == {dtype}


def test_bfloat16_is_loaded_when_it_is_asked_for() -> None:
    import subprocess
    import sys

    there = "'ml_dtypes' in sys.modules"
    program = f"import sys, minidl; assert not {there}; minidl.bfloat16; assert {there}"
    subprocess.run([sys.executable, "-c", program], check=True)
