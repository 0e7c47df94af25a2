"""interpolate and pad beyond the table and PyTorch's values: invariants, label maps, and sentences for wrong calls."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import minidl
from minidl.errors import DTypeError, MinidlError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
F = torch.nn.functional

FACTORS = [0.3, 0.5, 0.9, 1.0, 1.1, 1.5, 2.0, 2.05, 2.6, 3.0]


@pytest.mark.parametrize("length", [1, 2, 3, 7, 10, 28, 33])
@pytest.mark.parametrize("factor", FACTORS)
def test_nearest_picks_the_same_pixels_as_pytorch(length: int, factor: float) -> None:
    """The numbers of the pixels themselves, so that a tie rounded the other way shows."""
    if int(length * factor) < 1:
        return
    x = np.arange(length * length, dtype=np.float32).reshape(1, 1, length, length)
    for options in ({"scale_factor": factor}, {"size": int(length * factor)}):
        ours, theirs = minidl.interpolate(minidl.tensor(x), **options), F.interpolate(torch.tensor(x), **options)
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("length", [1, 2, 7, 28])
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("aligned", [True, False])
def test_linear_places_are_those_of_pytorch(length: int, factor: float, aligned: bool) -> None:
    """float32: PyTorch computes places in float32, whose spacing is 4e-6 at 28 pixels."""
    if int(length * factor) < 1:
        return
    x = np.arange(length, dtype=np.float32).reshape(1, 1, length)
    for options in ({"scale_factor": factor}, {"size": int(length * factor)}):
        options |= {"mode": "linear", "align_corners": aligned}
        ours, theirs = minidl.interpolate(minidl.tensor(x), **options), F.interpolate(torch.tensor(x), **options)
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("size", [(1, 1), (3, 9), (12, 4), (11, 13)])
def test_the_gradient_is_the_adjoint(mode: str, size: tuple[int, int]) -> None:
    """<resize(x), y> == <x, gradient of y>, in float64."""
    rng = np.random.default_rng(0)
    x = minidl.tensor(rng.standard_normal((2, 3, 6, 7)), requires_grad=True)
    y = minidl.tensor(rng.standard_normal((2, 3, *size)))
    z = minidl.interpolate(x, size, mode=mode)
    z.backward(y)
    assert (z * y).sum().item() == pytest.approx((x * x.grad).sum().item(), rel=1e-12)


def test_a_label_map_keeps_its_labels_and_its_type() -> None:
    labels = minidl.tensor(np.array([[[[3, 7], [200, 9]]]], np.uint8))
    doubled = minidl.interpolate(labels, scale_factor=2)
    assert doubled.dtype == np.uint8
    np.testing.assert_array_equal(doubled.numpy(), labels.numpy().repeat(2, 2).repeat(2, 3))


def test_nan_stays_among_its_neighbours() -> None:
    x = np.zeros((1, 1, 8), np.float32)
    x[0, 0, 3] = np.nan
    y = minidl.interpolate(minidl.tensor(x), scale_factor=2, mode="linear").numpy()
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(y)), [5, 6, 7, 8])


def test_an_empty_batch_is_resized_and_padded() -> None:
    x = minidl.zeros(0, 2, 3, 4).requires_grad_()
    results = [minidl.interpolate(x, scale_factor=2, mode=mode) for mode in ("nearest", "bilinear")]
    results += [minidl.pad(x, (2, 2, 1, 2), mode) for mode in ("constant", "reflect", "replicate", "circular")]
    assert [y.shape for y in results] == [(0, 2, 6, 8)] * 6
    for y in results:
        y.sum().backward()


@pytest.mark.parametrize(("mode", "numpy_mode"), [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")])
@pytest.mark.parametrize("borders", list(itertools.product([0, 1, 4], [0, 2, 4])), ids=str)
def test_continued_borders_equal_numpy(mode: str, numpy_mode: str, borders: tuple[int, int]) -> None:
    x = np.arange(30).reshape(6, 5)
    ours = minidl.pad(minidl.tensor(x), (*borders, 3, 1), mode)
    np.testing.assert_array_equal(ours.numpy(), np.pad(x, ((3, 1), borders), mode=numpy_mode))


@pytest.mark.parametrize("value", [0, -1.5, float("inf")])
def test_negative_borders_cut_off_while_others_add(value: float) -> None:
    x = np.arange(30.0).reshape(6, 5)
    ours = minidl.pad(minidl.tensor(x), (-1, 2, 3, -2), value=value)
    np.testing.assert_array_equal(ours.numpy(), np.pad(x[:4, 1:], ((3, 0), (0, 2)), constant_values=value))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give either size or scale_factor"),
        ({"size": 3, "scale_factor": 2}, "give either size or scale_factor"),
        ({"size": 0}, "size must be a whole number from 1 up, or 2 of them, got 0"),
        ({"size": 2.5}, "size must be .* got 2.5"),
        ({"size": (2, 3, 4)}, r"size must be .* got \(2, 3, 4\)"),
        ({"scale_factor": 0.1}, r"scale_factor must be .* at least one pixel of \(4, 5\), got 0.1"),
        ({"scale_factor": -1}, "scale_factor must be .* got -1"),
        ({"scale_factor": float("nan")}, "scale_factor must be .* got nan"),
        ({"scale_factor": float("inf")}, "scale_factor must be .* got inf"),
        ({"scale_factor": (1, 2, 3)}, r"scale_factor must be a number, or 2 of them"),
        ({"size": 3, "mode": "linear"}, r"mode for input \(1, 2, 4, 5\) must be one of \['nearest', .*'bicubic'\]"),
        ({"size": 3, "align_corners": True}, "align_corners goes with the linear modes"),
    ],
    ids=str,
)
def test_a_wrong_resize_is_named(options, message: str) -> None:
    with pytest.raises(MinidlError, match=f"^interpolate: {message}"):
        minidl.interpolate(minidl.ones(1, 2, 4, 5), **options)


def test_an_image_without_channels_is_named() -> None:
    with pytest.raises(MinidlError, match=r"interpolate: input must be \(N, C, d1, ...\), got \(4, 5\)"):
        minidl.interpolate(minidl.ones(4, 5), 3)


def test_whole_numbers_are_not_mixed() -> None:
    with pytest.raises(DTypeError, match="interpolate: mode 'bilinear' needs a floating input, got int64"):
        minidl.interpolate(minidl.ones(1, 1, 4, 4, dtype=np.int64), 8, mode="bilinear")


@pytest.mark.parametrize(
    ("pad", "mode", "message"),
    [
        ((1,), "constant", r"needs whole numbers \(before, after\) for up to 2 dimensions, last one first, got \(1,\)"),
        ((1,) * 6, "constant", "needs whole numbers .* for up to 2 dimensions"),
        ((1.5, 0), "constant", r"needs whole numbers .* got \(1.5, 0\)"),
        (1, "constant", "needs whole numbers .* got 1"),
        ((-3, -3), "constant", r"\(-3, -3\) cuts off more than there is of shape \(4, 5\)"),
        ((5, 0), "reflect", r"mode 'reflect' can add 0 to 4 elements .* of length 5, got \(5, 0\)"),
        ((0, 6), "circular", r"mode 'circular' can add 0 to 5 elements .* got \(0, 6\)"),
        ((0, 0), "mirror", "mode must be 'constant', 'reflect', 'replicate' or 'circular', got 'mirror'"),
    ],
)
def test_a_wrong_border_is_named(pad, mode: str, message: str) -> None:
    with pytest.raises(MinidlError, match=f"^pad: {message}"):
        minidl.pad(minidl.ones(4, 5), pad, mode)
