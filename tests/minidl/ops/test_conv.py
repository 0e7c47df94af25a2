"""Convolution beyond the table and PyTorch's values: blocks, exact sums, dtypes, and sentences for wrong calls.

The oracle is the definition of convolution as nested loops, which shares nothing with im2col.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import minidl
from minidl.core import launching
from minidl.errors import MinidlError, ShapeError
from minidl.ops.conv import im2col
from minidl.testing import check_gradient


def by_loops(x: np.ndarray, w: np.ndarray, stride, padding, dilation, groups: int) -> np.ndarray:
    """out[n, k, r, q] = sum over c, a, b of x[n, c, r s - p + a d, q s - p + b d] w[k, c, a, b]."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    rows = (x.shape[2] - dilation[0] * (w.shape[2] - 1) - 1) // stride[0] + 1
    columns = (x.shape[3] - dilation[1] * (w.shape[3] - 1) - 1) // stride[1] + 1
    out = np.zeros((len(x), len(w), rows, columns), x.dtype)
    per_group = len(w) // groups
    for k, r, q in itertools.product(range(len(w)), range(rows), range(columns)):
        first = k // per_group * w.shape[1]
        window = x[:, first : first + w.shape[1],
                   r * stride[0] : r * stride[0] + dilation[0] * (w.shape[2] - 1) + 1 : dilation[0],
                   q * stride[1] : q * stride[1] + dilation[1] * (w.shape[3] - 1) + 1 : dilation[1]]  # fmt: skip
        out[:, k, r, q] = (window * w[k]).sum((1, 2, 3))
    return out


def whole(*shapes, dtype=np.float32, seed: int = 0) -> list[np.ndarray]:
    """Small whole numbers: products and sums below 2**24 are exact in float32, in any order."""
    rng = np.random.default_rng(seed)
    return [rng.integers(-4, 5, s).astype(dtype) for s in shapes]


OPTIONS = [
    {"stride": s, "padding": p, "dilation": d, "groups": g}
    for s, p, d, g in [
        ((1, 1), (0, 0), (1, 1), 1), ((1, 1), (1, 1), (1, 1), 2), ((1, 1), (2, 1), (2, 1), 1),
        ((2, 1), (0, 2), (1, 2), 4), ((3, 2), (1, 1), (2, 2), 1), ((1, 1), (4, 5), (1, 1), 1),
        ((5, 5), (1, 1), (1, 1), 1), ((2, 2), (3, 3), (1, 1), 2),
    ]
]  # fmt: skip


@pytest.fixture(params=[1, 2000, im2col.COLUMN_BYTES], ids=["one row at a time", "few rows or images", "as released"])
def block_bytes(request, monkeypatch):
    """Blocks of the reference, without the compiled kernels."""
    monkeypatch.setattr(im2col, "COLUMN_BYTES", request.param)
    with minidl.use_numba(False):
        yield


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 4)])
def test_whole_numbers_are_exact_whatever_the_blocks(options, kernel) -> None:
    """Forward by the definition; both gradients by their adjoint identities, exact in whole numbers."""
    x, w = whole((3, 4, 10, 9), (8, 4 // options["groups"], *kernel))
    wanted = by_loops(x, w, **options)
    (g,) = whole(wanted.shape, seed=1)
    a, b = (minidl.tensor(t, requires_grad=True) for t in (x, w))
    y = minidl.conv2d(a, b, **options)
    np.testing.assert_array_equal(y.detach().numpy(), wanted)
    y.backward(minidl.tensor(g))
    for leaf, other in ((a, lambda d: by_loops(d, w, **options)), (b, lambda d: by_loops(x, d, **options))):
        (direction,) = whole(leaf.shape, seed=2)
        assert (leaf.grad.numpy() * direction).sum(dtype=np.float64) == (g * other(direction)).sum(dtype=np.float64)


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("dims", [1, 3])
def test_blocks_do_not_matter_in_other_dimensions(dims, monkeypatch) -> None:
    x, w = whole((2, 3, *(7, 6, 5)[:dims]), (4, 3, *(3, 2, 3)[:dims]))
    function = getattr(minidl, f"conv{dims}d")

    def gradients() -> list[np.ndarray]:
        a, b = (minidl.tensor(t, requires_grad=True) for t in (x, w))
        y = function(a, b, padding=1)
        (y * y).sum().backward()
        return [y.detach().numpy(), a.grad.numpy(), b.grad.numpy()]

    found = gradients()
    monkeypatch.setattr(im2col, "COLUMN_BYTES", 1 << 30)
    for ours, whole_images in zip(found, gradients(), strict=True):
        np.testing.assert_array_equal(ours, whole_images)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float64])
def test_other_number_types_keep_theirs(dtype) -> None:
    x, w = whole((2, 3, 6, 5), (4, 3, 3, 3), dtype=dtype)
    y = minidl.conv2d(minidl.tensor(x), minidl.tensor(w))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.numpy(), by_loops(x, w, (1, 1), (0, 0), (1, 1), 1))


def test_mixed_precision_takes_the_wider_type() -> None:
    x, w = whole((2, 3, 6, 5), (4, 3, 3, 3))
    leaf = minidl.tensor(x, requires_grad=True)
    y = minidl.conv2d(leaf, minidl.tensor(w.astype(np.float64)))
    y.sum().backward()
    assert (y.dtype, leaf.grad.dtype) == (np.float64, np.float32)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_second_derivatives_match_richardson_differences(options) -> None:
    x, w = (minidl.tensor(a / 4) for a in whole((1, 4, 5, 6), (4, 4 // options["groups"], 2, 3), dtype=np.float64))
    check_gradient(lambda x, w: minidl.conv2d(x, w, **options), x, w, order=2)


def test_an_empty_batch_gives_empty_results_and_zero_weight_gradients() -> None:
    x = minidl.zeros(0, 3, 5, 5).requires_grad_()
    w = minidl.ones(4, 3, 3, 3).requires_grad_()
    y = minidl.conv2d(x, w, stride=2, padding=1)
    y.sum().backward()
    assert (y.shape, x.grad.shape) == ((0, 4, 3, 3), (0, 3, 5, 5))
    assert not w.grad.numpy().any()


def test_a_gradient_that_nobody_needs_is_not_computed() -> None:
    x, w = (minidl.tensor(a) for a in whole((1, 2, 4, 4), (2, 2, 3, 3)))
    y = minidl.conv2d(x, w.requires_grad_())
    seen: list[str] = []

    def note(call) -> None:
        seen.append(call.op.name)
        call.run()

    with launching(note):
        y.sum().backward()
    assert "conv_grad_weight" in seen
    assert "conv_grad_input" not in seen


def test_nan_spreads_to_the_windows_that_see_it_and_no_further() -> None:
    x = np.zeros((1, 1, 6, 6), np.float32)
    x[0, 0, 2, 3] = np.nan
    y = minidl.conv2d(minidl.tensor(x), minidl.ones(1, 1, 3, 3), padding=1).numpy()
    seen = np.zeros((6, 6), bool)
    seen[1:4, 2:5] = True
    np.testing.assert_array_equal(np.isnan(y[0, 0]), seen)


def ones(*shape: int) -> minidl.Tensor:
    return minidl.ones(*shape)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"padding": "SAME"}, "padding must be whole numbers, 'same' or 'valid', got 'SAME'"),
        ({"padding": "same", "stride": 2}, r"padding 'same' needs stride 1, got \(2, 2\)"),
        ({"padding": -1}, "padding must be a whole number from 0 up, or 2 of them, got -1"),
        ({"padding": 0.5}, "padding must be a whole number from 0 up, or 2 of them, got 0.5"),
        ({"padding": None}, "padding must be a whole number from 0 up, or 2 of them, got None"),
        ({"stride": 0}, "stride must be a whole number from 1 up, or 2 of them, got 0"),
        ({"stride": (1, 2, 3)}, r"stride must be .* got \(1, 2, 3\)"),
        ({"dilation": 0}, "dilation must be .* got 0"),
        ({"dilation": 3}, r"a kernel of 3 x 3 \(dilation 3 x 3\) does not fit into an image of 6 x 5 with padding 0"),
        ({"groups": 0}, "groups must be a whole number from 1 up, got 0"),
        ({"groups": 3}, r"input has 4 channels but weight .* takes 4 per group \(groups=3\)"),
        ({"input": (2, 3, 6, 5)}, r"input has 3 channels but weight \(8, 4, 3, 3\) takes 4 per group \(groups=1\)"),
        ({"input": (6, 5)}, r"input must be \(N, C, H, W\) and weight have 4 dimensions"),
        ({"input": (2, 4, 0, 5)}, "must not be empty"),
        ({"weight": (8, 4, 3)}, r"weight have 4 dimensions, got \(2, 4, 6, 5\) and \(8, 4, 3\)"),
        ({"weight": (8, 4, 0, 3)}, "must not be empty"),
        ({"weight": (8, 4, 7, 3)}, "a kernel of 7 x 3 .* does not fit into an image of 6 x 5"),
        ({"bias": (7,)}, r"bias must be \(8,\) beside weight \(8, 4, 3, 3\), got \(7,\)"),
    ],
    ids=str,
)
def test_a_wrong_call_is_named(change, message: str) -> None:
    arguments = {"input": (2, 4, 6, 5), "weight": (8, 4, 3, 3), "bias": (8,)} | change
    for name in ("input", "weight", "bias"):
        arguments[name] = ones(*arguments[name])
    with pytest.raises(ShapeError, match=f"^conv2d: .*{message}") as raised:
        minidl.conv2d(**arguments)
    assert len(raised.value.args) == 1


@pytest.mark.parametrize("number", [np.int64(2), [2], (2, 2)], ids=repr)
def test_sizes_may_be_numbers_of_numpy_or_lists(number) -> None:
    y = minidl.conv2d(ones(1, 1, 5, 5), ones(1, 1, 3, 3), stride=number)
    assert y.shape == (1, 1, 2, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output_padding": 2}, r"output_padding \(2, 2\) must be less than stride \(2, 2\) or dilation \(1, 1\)"),
        ({"padding": 5}, r"padding \(5, 5\) leaves nothing"),
        ({"padding": "same"}, "padding must be a whole number from 0 up, or 2 of them, got 'same'"),
        ({"groups": 0}, "groups must be a whole number from 1 up, got 0"),
        ({"groups": 3}, r"weight .* takes 4 \(groups=3\)"),
        ({"input": (2, 3, 3, 2)}, r"input has 3 channels but weight \(4, 8, 3, 3\) takes 4"),
        ({"input": (2, 4, 0, 2)}, "must not be empty"),
        ({"input": (4, 2)}, r"input must be \(N, C, H, W\)"),
        ({"bias": (4,)}, r"bias must be \(8,\)"),
    ],
    ids=str,
)
def test_a_wrong_call_of_the_transpose_is_named(change, message: str) -> None:
    arguments = {"input": (2, 4, 3, 2), "weight": (4, 8, 3, 3), "bias": (8,), "stride": 2} | change
    for name in ("input", "weight", "bias"):
        arguments[name] = ones(*arguments[name])
    with pytest.raises(MinidlError, match=f"^conv_transpose2d: .*{message}"):
        minidl.conv_transpose2d(**arguments)


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_transpose_is_the_adjoint(options) -> None:
    """<conv(x), y> == <x, conv_transpose(y)>, exactly, in whole numbers."""
    x, w = whole((2, 4, 10, 9), (8, 4 // options["groups"], 3, 2))
    forward = minidl.conv2d(minidl.tensor(x), minidl.tensor(w), **options)
    (y,) = whole(forward.shape, seed=3)
    spans = zip(
        x.shape[2:], forward.shape[2:], options["stride"], options["padding"], options["dilation"], (3, 2), strict=True
    )
    extra = [n - ((o - 1) * s - 2 * p + d * (k - 1) + 1) for n, o, s, p, d, k in spans]
    back = minidl.conv_transpose2d(minidl.tensor(y), minidl.tensor(w), output_padding=extra, **options)
    left, right = forward.numpy() * y, back.numpy() * x
    assert left.sum(dtype=np.float64) == right.sum(dtype=np.float64)


@pytest.mark.parametrize("compiled", [True, False])
def test_images_that_lie_channels_last_give_the_same_gradients(compiled) -> None:
    """The gradient of the weight is then allocated channels last, too, where the reference must not lose its sums."""
    x, w = whole((2, 3, 6, 5), (4, 3, 3, 3))
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    found = []
    with minidl.use_numba(compiled):
        for images in (x, last):
            weight = minidl.tensor(w, requires_grad=True)
            minidl.conv2d(minidl.Tensor.of(images), weight).square().sum().backward()
            found.append(weight.grad.numpy())
    np.testing.assert_array_equal(*found)
    assert np.abs(found[0]).max() > 0
