"""The compiled convolutions against PyTorch, over a grid of shapes, and on any number of threads."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import minidl
from minidl.device import numba_status
from minidl.errors import KernelError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = [pytest.mark.numba, pytest.mark.skipif(not numba_status(), reason="Numba is not installed")]

CHANNELS = (1, 2, 3, 5, 8, 16, 17, 33, 64)
Options = dict[str, object]


def drawn(count: int, seed: int, dims: int = 2):
    """`count` convolutions: shapes of image and weight, and options; a third are depthwise or in groups."""
    rng = np.random.default_rng(seed)
    while count:
        groups = int(rng.choice([1, 1, 1, 2, 3]))
        channels, filters = groups * rng.choice(CHANNELS[:7]), groups * rng.choice(CHANNELS[:7])
        image, kernel = rng.integers(1, 14 if dims < 3 else 8, dims), rng.integers(1, 6 if dims < 3 else 4, dims)
        stride, dilation, padding = rng.integers(1, 4, dims), rng.integers(1, 4, dims), rng.integers(0, 5, dims)
        if ((image + 2 * padding - dilation * (kernel - 1)) < 1).any():
            continue
        x = (int(rng.integers(1, 4)), int(channels), *image.tolist())
        w = (int(filters), int(channels) // groups, *kernel.tolist())
        steps = {"stride": stride, "padding": padding, "dilation": dilation}
        yield x, w, {name: tuple(step.tolist()) for name, step in steps.items()} | {"groups": groups}
        count -= 1


def wide():
    """Every number of channels with itself and 16, in odd sizes, strides and windows."""
    for channels, stride, kernel in itertools.product(CHANNELS, (1, 2, 3), (1, 3)):
        yield (2, channels, 9, 13), (16, channels, kernel, kernel), {"stride": (stride, stride), "padding": (1, 1)}
        yield (1, 16, 7, 7), (channels, 16, kernel, kernel), {"stride": (stride, stride), "padding": (1, 1)}
        shape = (channels, 1, kernel, kernel)
        yield (2, channels, 9, 13), shape, {"stride": (stride, stride), "padding": (1, 1), "groups": channels}
    yield (1, 64, 5, 6), (64, 64, 3, 3), {"padding": (1, 1)}
    yield (3, 300, 4, 4), (70, 300, 3, 3), {"padding": (1, 1), "stride": (2, 2)}


def whole(shape, seed: int, dtype) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(dtype)


def run(lib, x: np.ndarray, w: np.ndarray, bias: np.ndarray, options: Options) -> list[np.ndarray]:
    """Result and gradients of image, weight and bias."""
    leaves = [lib.tensor(a.copy()).requires_grad_() for a in (x, w, bias)]
    y = getattr(lib.nn.functional, f"conv{x.ndim - 2}d")(*leaves, **options)
    g = whole(tuple(y.shape), 3, x.dtype)
    y.backward(lib.tensor(g))
    return [y.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves)]


@pytest.fixture
def exact():
    """Without Winograd's rounding; sums of whole numbers are exact in any order."""
    minidl.set_conv_precision("exact")
    yield
    minidl.set_conv_precision("fast")


CASES = [*drawn(100, seed=0), *drawn(40, seed=1, dims=1), *drawn(60, seed=2, dims=3), *wide()]


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_whole_numbers_equal_pytorch(dtype) -> None:
    for number, (x, w, options) in enumerate(CASES):
        operands = [whole(shape, seed, dtype) for seed, shape in enumerate((x, w, w[:1]))]
        for name, ours, theirs in zip(
            ("result", "image", "weight", "bias"), run(minidl, *operands, options), run(torch, *operands, options),
            strict=True,
        ):  # fmt: skip
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{name} of case {number}: {x} {w} {options}")


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(1)
    before = minidl.get_num_threads()
    large = [
        ((3, 24, 40, 33), (40, 24, 3, 3), {"padding": (1, 1)}),
        ((2, 32, 40, 33), (40, 32, 3, 3), {"padding": (1, 1), "stride": (2, 2)}),
        ((4, 64, 30, 30), (96, 64, 1, 1), {}),
        ((2, 40, 40, 40), (40, 1, 5, 5), {"padding": (2, 2), "groups": 40}),
        ((2, 16, 10, 12, 14), (24, 16, 3, 3, 3), {"padding": (1, 1, 1)}),
        ((8, 32, 500), (64, 32, 5), {"padding": (2,)}),
    ]
    for x, w, options in [*CASES[:12], *CASES[100:104], *CASES[140:146], *CASES[-8:], *large]:
        operands = [rng.standard_normal(shape).astype(np.float32) for shape in (x, w, w[:1])]
        found = []
        try:
            for threads in (1, 2, 3, 7, 16):
                minidl.set_num_threads(threads)
                found.append(run(minidl, *operands, options))
        finally:
            minidl.set_num_threads(before)
        for other in found[1:]:
            for a, b in zip(found[0], other, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_transposed_windows_equal_pytorch_and_add_the_bias(dims) -> None:
    """Up-convolutions as in a U-Net (2, stride 2), and windows that overlap, with a bias that has a gradient."""
    for kernel, stride, padding, extra, filters in [
        (2, 2, 0, 0, 24),
        (3, 2, 1, 1, 17),
        (5, 3, 2, 0, 5),
        (3, 1, 1, 0, 8),
    ]:
        space = (9, 6, 5)[:dims]
        operands = whole((2, 16, *space), 0, np.float32), whole((16, filters, *[kernel] * dims), 1, np.float32)
        found = []
        for lib in (minidl, torch):
            leaves = [lib.tensor(a.copy()).requires_grad_() for a in (*operands, whole((filters,), 2, np.float32))]
            function = getattr(lib.nn.functional, f"conv_transpose{dims}d")
            y = function(*leaves, stride=stride, padding=padding, output_padding=extra)
            y.backward(lib.tensor(whole(tuple(y.shape), 3, np.float32)))
            found.append([y.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves)])
        for ours, theirs in zip(*found, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.fixture
def winograd():
    minidl.set_conv_algorithm("winograd")
    yield
    minidl.set_conv_algorithm("auto")


def squares():
    """3×3 windows over every number of channels, odd sizes, and paddings up to more than the window."""
    rng = np.random.default_rng(4)
    for channels, filters in itertools.product(CHANNELS, CHANNELS):
        padding = tuple(rng.integers(0, 4, 2).tolist())
        height, width = (int(rng.integers(max(1, 3 - 2 * p), 19)) for p in padding)
        yield (int(rng.integers(1, 4)), channels, height, width), (filters, channels, 3, 3), {"padding": padding}
    yield (2, 300, 4, 5), (70, 300, 3, 3), {"padding": 1}


@pytest.mark.usefixtures("winograd")
@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 3e-5), (np.float64, 1e-13)])
def test_winograd_errs_by_a_hundred_thousandth_of_the_largest_result(dtype, bound) -> None:
    """Its transforms subtract numbers about ten times as large as the result, so ten times the error of a plain sum."""
    rng = np.random.default_rng(5)
    for x, w, options in squares():
        operands = [rng.standard_normal(shape).astype(dtype) for shape in (x, w, w[:1])]
        judged = run(torch, *[a.astype(np.float64) for a in operands], options)
        for name, ours, exact in zip(
            ("result", "image", "weight"), run(minidl, *operands, options), judged, strict=False
        ):
            error = np.abs(ours - exact).max() / np.abs(exact).max()
            assert error <= bound, f"{name} of {x} {w} {options}: {error}"


def test_exact_precision_keeps_a_nan_to_its_windows() -> None:
    x, w = minidl.zeros(1, 16, 12, 12), minidl.ones(16, 16, 3, 3)
    x.array[0, 3, 5, 6] = np.nan
    try:
        found = []
        for precision in ("fast", "exact"):
            minidl.set_conv_precision(precision)
            found.append(np.isnan(minidl.conv2d(x, w, padding=1).numpy()[0, 0]))
    finally:
        minidl.set_conv_precision("fast")
    seen = np.zeros((12, 12), bool)
    seen[4:7, 5:8] = True
    np.testing.assert_array_equal(found[1], seen)
    assert found[0][seen].all()


def test_an_unknown_precision_is_named() -> None:
    with pytest.raises(KernelError, match="precision must be one of exact, fast, got 'half'"):
        minidl.set_conv_precision("half")


def test_an_unknown_algorithm_is_named() -> None:
    with pytest.raises(KernelError, match=r"algorithm must be one of auto, .* got 'fft'"):
        minidl.set_conv_algorithm("fft")
