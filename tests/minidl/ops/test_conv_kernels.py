"""The compiled convolutions against PyTorch, over a grid of shapes, and on any number of threads."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import minidl
from minidl.device import numba_status
from minidl.errors import KernelError, ShapeError
from minidl.ops.conv import direct as direct_conv
from minidl.ops.conv import winograd
from minidl.ops.conv.epilogue import Epilogue

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


CASES = [*drawn(80, seed=0), *drawn(30, seed=1, dims=1), *drawn(40, seed=2, dims=3), *wide()]


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_groups_that_are_joined_equal_pytorch_in_whole_numbers(dtype) -> None:
    """Few channels in a group: joined to fill a vector, unless the precision is "exact"."""
    for channels, filters, groups in [(4, 4, 12), (2, 6, 5), (1, 2, 3), (8, 3, 2), (3, 3, 7)]:
        x, w = (2, channels * groups, 7, 6), (filters * groups, channels, 3, 2)
        options = {"padding": (1, 1), "stride": (1, 2), "groups": groups}
        operands = [whole(shape, seed, dtype) for seed, shape in enumerate((x, w, w[:1]))]
        for ours, theirs in zip(run(minidl, *operands, options), run(torch, *operands, options), strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{channels} to {filters} in {groups} groups")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("members", [2, 4, 8])
def test_small_groups_equal_pytorch_in_whole_numbers(members, dtype) -> None:
    """As many filters as channels: lanes of a vector, full and not."""
    for groups, (size, stride, dilation) in itertools.product(
        (3, 9), [(3, 1, 1), (3, 2, 1), (5, 1, 1), (3, 1, 2), (1, 1, 1), (2, 2, 1)]
    ):
        x, w = (2, members * groups, 13, 11), (members * groups, members, size, size)
        steps = {"padding": (size // 2,) * 2, "stride": (stride,) * 2, "dilation": (dilation,) * 2}
        operands = [whole(shape, seed, dtype) for seed, shape in enumerate((x, w, w[:1]))]
        options = {**steps, "groups": groups}
        for ours, theirs in zip(run(minidl, *operands, options), run(torch, *operands, options), strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{groups} groups of {members}, {steps}")


def test_small_groups_keep_a_nan_to_themselves() -> None:
    x = np.ones((1, 40, 4, 4), np.float32)
    x[0, 9] = np.nan
    found = minidl.conv2d(minidl.tensor(x), minidl.ones(40, 4, 3, 3), groups=10).numpy()
    assert np.isnan(found[0, 8:12]).all()
    assert np.isfinite(np.delete(found[0], slice(8, 12), 0)).all()


@pytest.mark.usefixtures("exact")
def test_exact_precision_keeps_a_nan_to_its_group() -> None:
    x = np.ones((1, 8, 4, 4), np.float32)
    x[0, 2] = np.nan
    found = minidl.conv2d(minidl.tensor(x), minidl.ones(8, 2, 3, 3), groups=4).numpy()
    assert np.isnan(found[0, 2:4]).all()
    assert np.isfinite(found[0, [0, 1, 4, 5, 6, 7]]).all()


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
        ((3, 3, 40, 33), (24, 3, 5, 5), {}),
        ((3, 24, 40, 33), (2, 24, 3, 3), {}),
        ((2, 1, 12, 20, 22), (24, 1, 3, 3, 3), {"padding": (1, 1, 1)}),
        ((3, 24, 30, 33), (48, 4, 3, 3), {"groups": 6}),
        ((3, 24, 30, 33), (24, 4, 3, 3), {"groups": 6}),
        ((3, 24, 30, 33), (3, 24, 1, 1), {}),
        ((1, 40, 9, 9), (130, 40, 3, 3), {}),
        ((2, 24, 30, 33), (40, 24, 5, 5), {"padding": (2, 2), "stride": (2, 2)}),
        ((2, 24, 30, 33), (40, 24, 3, 3), {"padding": (3, 3), "dilation": (3, 3)}),
        ((1, 8, 12, 20, 22), (8, 8, 3, 3, 3), {"padding": (1, 1, 1)}),
    ]
    for x, w, options in [*CASES[:10], *CASES[80:84], *CASES[110:114], *CASES[-6:], *large]:
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


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_transposed_windows_equal_pytorch_and_add_the_bias(dims, precision, request) -> None:
    """Up-convolutions as in a U-Net (2, stride 2), and windows that overlap, with a bias that has a gradient.

    Whole numbers below 1000: plain sums have them exactly, Winograd's once they are rounded.
    """
    request.addfinalizer(lambda: minidl.set_conv_precision("fast"))
    minidl.set_conv_precision(precision)
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
            np.testing.assert_array_equal(ours if precision == "exact" else np.rint(ours), theirs)


@pytest.fixture
def by_winograd():
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


def others():
    """Windows that are made of 3×3 ones: large, even, strided, dilated, of volumes; in both directions or in one."""
    rng = np.random.default_rng(8)
    kinds = [
        ((5, 5), {}), ((7, 7), {}), ((2, 2), {}), ((4, 6), {}), ((3, 3), {"dilation": 2}),
        ((5, 3), {"dilation": (1, 5)}),
        ((5, 5), {"stride": 2}), ((4, 4), {"stride": 2}), ((7, 4), {"stride": (3, 1)}), ((6, 5), {"stride": (4, 2)}),
        ((3, 4), {"stride": (1, 3), "dilation": (3, 1)}), ((3, 3, 3), {}), ((1, 3, 3), {}), ((4, 2, 5), {}),
        ((3, 5, 4), {"stride": (1, 2, 1), "dilation": (2, 1, 1)}), ((2, 3, 3), {"dilation": (3, 2, 1)}),
    ]  # fmt: skip
    for (kernel, options), (channels, filters) in itertools.product(
        kinds, [(5, 9), (8, 8), (16, 20), (33, 16), (48, 70)]
    ):
        padding = [int(rng.integers(0, k)) for k in kernel]
        dilation = np.broadcast_to(options.get("dilation", 1), len(kernel))
        space = [int(rng.integers(1, 12)) + int(d) * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        yield (2, channels, *space), (filters, channels, *kernel), {"padding": tuple(padding), **options}


@pytest.mark.usefixtures("by_winograd")
@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 3e-5), (np.float64, 1e-13)])
def test_winograd_errs_by_a_hundred_thousandth_of_the_largest_result(dtype, bound) -> None:
    """Its transforms subtract numbers about ten times as large as the result, so ten times the error of a plain sum."""
    rng = np.random.default_rng(5)
    for x, w, options in [*squares(), *others()]:
        operands = [rng.standard_normal(shape).astype(dtype) for shape in (x, w, w[:1])]
        judged = run(torch, *[a.astype(np.float64) for a in operands], options)
        for name, ours, exact in zip(
            ("result", "image", "weight"), run(minidl, *operands, options), judged, strict=False
        ):
            error = np.abs(ours - exact).max() / np.abs(exact).max()
            assert error <= bound, f"{name} of {x} {w} {options}: {error}"


@pytest.mark.usefixtures("by_winograd")
def test_winograd_is_exact_in_whole_numbers_once_they_are_rounded() -> None:
    """With factors up to 3 and 9·64 of them the sums stay below 5184, so an error of 3e-5 of that is below a half."""
    for x, w, options in squares():
        if x[1] <= 64 and w[0] <= 64:
            operands = [whole(shape, seed, np.float32) for seed, shape in enumerate((x, w, w[:1]))]
            ours, theirs = run(minidl, *operands, options), run(torch, *operands, options)
            for name, a, b in zip(("result", "image"), ours, theirs, strict=False):
                np.testing.assert_array_equal(np.rint(a), b, err_msg=f"{name} of {x} {w} {options}")


def few():
    """Up to 8 channels or filters with every kind of window in one to three dimensions, also in short rows."""
    rng = np.random.default_rng(6)
    for channels, filters in [*itertools.product((1, 2, 3, 5, 8), (1, 3, 8, 12, 16, 20, 28, 33)),
                              *itertools.product((9, 16, 20, 33), (1, 2, 3, 7, 8))]:  # fmt: skip
        dims = int(rng.choice([1, 2, 2, 3]))
        kernel, dilation = rng.integers(1, 6 if dims < 3 else 4, dims), rng.integers(1, 3, dims)
        image = rng.integers(1, 40 if dims < 3 else 9, dims) + dilation * (kernel - 1)
        steps = {"stride": rng.integers(1, 3, dims), "padding": rng.integers(0, 4, dims), "dilation": dilation}
        x, w = (2, channels, *image.tolist()), (filters, channels, *kernel.tolist())
        yield x, w, {name: tuple(step.tolist()) for name, step in steps.items()}


@pytest.fixture
def by_direct():
    minidl.set_conv_algorithm("direct")
    yield
    minidl.set_conv_algorithm("auto")


@pytest.mark.usefixtures("by_direct")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_few_channels_or_filters_equal_pytorch_in_whole_numbers(dtype) -> None:
    for x, w, options in few():
        operands = [whole(shape, seed, dtype) for seed, shape in enumerate((x, w, w[:1]))]
        for name, ours, theirs in zip(
            ("result", "image", "weight", "bias"), run(minidl, *operands, options), run(torch, *operands, options),
            strict=True,
        ):  # fmt: skip
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{name} of {x} {w} {options}")


@pytest.mark.parametrize("activation", ["none", "relu"])
@pytest.mark.parametrize("has_residual", [False, True])
@pytest.mark.parametrize(("channels", "filters"), [(16, 24), (20, 33), (3, 5), (3, 16), (32, 2)])
def test_an_epilogue_equals_its_steps(activation, has_residual, channels, filters) -> None:
    """Bias, residual and ReLU in the pass of the convolution, and a NaN that ReLU lets through."""
    rng = np.random.default_rng(7)
    x, w = whole((2, 9, 14, channels), 0, np.float32), whole((filters, channels, 3, 3), 1, np.float32)
    bias, residual = whole((filters,), 2, np.float32), whole((2, 9, 14, filters), 3, np.float32)
    residual[0, 4, 5, 1] = np.nan
    sums = torch.nn.functional.conv2d(*(torch.tensor(a) for a in (x.transpose(0, 3, 1, 2), w, bias)), padding=1)
    wanted = sums.numpy().transpose(0, 2, 3, 1) + (residual if has_residual else 0)
    wanted = np.maximum(wanted, 0) if activation == "relu" else wanted  # NumPy's maximum keeps NaN
    epilogue, given = Epilogue(activation, has_residual), (x, w, bias, residual if has_residual else None)
    for name, call in {
        "winograd": lambda out: winograd.forward(out, x, w, epilogue, (1, 1), (1, 1), (1, 1))(out, *given),
        "direct": lambda out: direct_conv.forward(out, x, w, epilogue, (1, 1), (1, 1), (1, 1))(out, *given),
    }.items():
        if name == "direct" and min(channels, filters) > 8:
            continue
        out = np.full(wanted.shape, rng.standard_normal(), np.float32)
        call(out)
        np.testing.assert_array_equal(np.rint(out), wanted, err_msg=name)


def test_all_estimates_are_shown_and_the_algorithm_taken_comes_first() -> None:
    found = minidl.conv_algorithms((8, 64, 32, 32), (64, 64, 3, 3), padding=1)
    assert [*found] == ["forward", "input", "weight"]
    assert all([*known] == ["winograd", "implicit"] for known in found.values())
    assert all(us > 0 for known in found.values() for us in known.values())
    stem = minidl.conv_algorithms((8, 1, 128, 128), (16, 1, 3, 3))
    assert [next(iter(known)) for known in stem.values()] == ["direct"] * 3
    assert [*minidl.conv_algorithms((1, 8, 9, 9), (8, 1, 3, 3), groups=8)["forward"]] == ["depthwise"]
    assert [*minidl.conv_algorithms((1, 8, 9, 9), (8, 2, 3, 3), groups=4)["weight"]] == ["depthwise"]
    assert "direct" not in minidl.conv_algorithms((1, 3, 32, 32), (64, 3, 7, 7), stride=2)["input"]


def test_the_wish_is_first_in_the_estimates_and_exact_leaves_winograd_out() -> None:
    shapes = (8, 64, 32, 32), (64, 64, 3, 3)
    try:
        minidl.set_conv_algorithm("implicit")
        assert next(iter(minidl.conv_algorithms(*shapes)["forward"])) == "implicit"
        minidl.set_conv_algorithm("auto")
        minidl.set_conv_precision("exact")
        assert [*minidl.conv_algorithms(*shapes)["forward"]] == ["implicit"]
    finally:
        minidl.set_conv_algorithm("auto")
        minidl.set_conv_precision("fast")


def test_estimates_need_a_window_that_fits() -> None:
    with pytest.raises(ShapeError, match="conv_algorithms"):
        minidl.conv_algorithms((1, 3, 2, 2), (4, 3, 5, 5))


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
