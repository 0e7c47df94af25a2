from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

import minidl
from minidl.errors import DTypeError, ShapeError
from minidl.utils.data import default_collate


class Pair(NamedTuple):
    image: np.ndarray
    label: int


def plain(value):
    """Tensors as lists, so that structures can be compared."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def test_the_structure_stays() -> None:
    batch = default_collate([Pair(np.zeros(2, np.uint8), 1), Pair(np.ones(2, np.uint8), 0)])
    assert isinstance(batch, Pair)
    assert plain(batch) == [[[0, 0], [1, 1]], [1, 0]]
    assert batch.image.dtype == np.uint8
    nested = default_collate([{"a": (1, "x"), "b": [1.5, True]}, {"a": (2, "y"), "b": [2.5, False]}])
    assert plain(nested) == {"a": [[1, 2], ["x", "y"]], "b": [[1.5, 2.5], [True, False]]}


@pytest.mark.parametrize(
    ("samples", "dtype"),
    [
        ([1, 2], np.int64),
        ([1.0, 2.0], np.float32),
        ([True, False], np.bool_),
        ([np.float64(1), np.float64(2)], np.float64),
        ([np.uint8(1), np.uint8(2)], np.uint8),
        ([np.zeros(2), np.ones(2)], np.float64),
        ([minidl.zeros(2), minidl.ones(2)], np.float32),
    ],
)
def test_element_types_stay_and_python_floats_take_the_default(samples, dtype) -> None:
    batch = default_collate(samples)
    assert isinstance(batch, minidl.Tensor)
    assert batch.dtype == dtype
    assert batch.shape[0] == 2


def test_the_same_as_pytorch_makes() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from torch.utils.data import default_collate as theirs

    samples = [{"x": np.full((2, 3), i, np.float32), "y": (i, [np.int32(i)]), "name": str(i)} for i in range(3)]
    assert plain(default_collate(samples)) == plain(theirs(samples))
    assert torch.__version__


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        ([np.zeros(2), np.zeros(3)], ShapeError, "must have one shape"),
        ([(1, 2), (1,)], ShapeError, "as many parts"),
        ([{"a": 1}, {"b": 1}], ShapeError, "the same keys"),
        ([None, None], DTypeError, "cannot batch samples of type NoneType; pass collate_fn"),
        ([np.array(["a"])], DTypeError, "element type <U1; pass collate_fn"),
    ],
)
def test_what_cannot_be_a_batch_is_named(samples, error, message) -> None:
    with pytest.raises(error, match=message):
        default_collate(samples)
