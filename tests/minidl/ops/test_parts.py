"""unbind, split and chunk: parts of one tensor whose gradients are joined in one step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minidl
from minidl.core import launching
from minidl.errors import ShapeError
from minidl.testing import check_gradient, draw


def launched(x: Any, use: Any) -> list[str]:
    """The ops that the backward pass of sum(use(x)) launches."""
    names: list[str] = []

    def note(call: Any) -> None:
        call.run()
        names.append(call.op.name)

    total = use(x)
    with launching(note):
        total.backward()
    return names


@pytest.mark.parametrize("cut", [lambda x: x.unbind(1), lambda x: x.split(2, 1), lambda x: x.chunk(3, 1)])
def test_gradients_are_joined_once(cut: Any) -> None:
    """However many parts there are; a slice alone would fill a whole tensor for each."""
    x = minidl.randn(3, 6, 2).requires_grad_()
    names = launched(x, lambda x: sum((part.exp() * k).sum() for k, part in enumerate(cut(x))))
    assert "slice_adjoint" not in names
    assert names.count("cat") + names.count("stack") == 1
    factor = np.concatenate([np.full(p.shape if p.ndim == 3 else (3, 1, 2), k) for k, p in enumerate(cut(x))], 1)
    np.testing.assert_allclose(x.grad, np.exp(x.detach().numpy()) * factor, rtol=1e-6)


@pytest.mark.parametrize(
    "use",
    [
        lambda x: minidl.stack([p * p.sum() for p in x.unbind(0)]),
        lambda x: minidl.cat([p.sin() for p in x.split([1, 0, 3], 0)]),
        lambda x: x.split([1, 3], 0)[1] ** 3,
        lambda x: x.chunk(2, 1)[0] * x.chunk(2, 1)[1],
    ],
)
def test_gradients_of_any_order(use: Any) -> None:
    """Of parts that are not used too: their gradient is zero."""
    check_gradient(use, *draw([(4, 2)]), order=2)


def test_a_part_changed_in_place_reaches_the_others_history() -> None:
    x = minidl.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 1
    first, second, _ = y.unbind()
    first.mul_(second)
    (y * y).sum().backward()  # (x0 x1)² + x1² + x2²
    assert y.tolist() == [2.0, 2.0, 3.0]
    assert x.grad.tolist() == [8.0, 8.0, 6.0]


def test_whole_numbers_and_single_parts_pass() -> None:
    assert [p.item() for p in minidl.arange(3).unbind()] == [0, 1, 2]
    x = minidl.ones(1, 2, requires_grad=True)
    x.unbind()[0].sum().backward()
    assert x.grad.tolist() == [[1.0, 1.0]]
    assert minidl.zeros(0, 2).requires_grad_().unbind() == ()


def test_lengths_below_zero_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"split: sizes must be 0 or more, got \[3, -1\]"):
        minidl.split(minidl.zeros(2), [3, -1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shapes", [[(3, 5, 40, 40), (3, 1, 40, 40), (3, 18, 40, 40)], [(2, 9000, 3, 1), (2, 0, 3, 1)]])
@pytest.mark.parametrize("threads", [1, 3])
def test_joined_in_any_layout(threads: int, shapes: Any, dtype: Any) -> None:
    """Channels first, last, and one of each: narrow lines, lines longer than a unit of work, and empty ones."""
    rng = np.random.default_rng(0)
    first = [rng.standard_normal(s).astype(dtype) for s in shapes]
    last = [np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for x in first]
    before = minidl.get_num_threads()
    minidl.set_num_threads(threads)
    try:
        for xs in (first, last, [first[0], *last[1:]]):
            found = minidl.cat([minidl.Tensor.of(x) for x in xs], 1)
            np.testing.assert_array_equal(found.numpy(), np.concatenate(first, 1))
        for dim in range(5):
            pair = [first[0], last[0]]
            found = minidl.stack([minidl.Tensor.of(x) for x in pair], dim)
            np.testing.assert_array_equal(found.numpy(), np.stack(pair, dim))
    finally:
        minidl.set_num_threads(before)
