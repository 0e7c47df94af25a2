"""Compiled kernels and references give the same bits where whole numbers leave nothing to round: no tolerance at all.

Sizes are odd or primes, so that tiles, vectors and threads have remainders; images lie channels first and last.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import minidl
from minidl.core import UpdateOp, deferring, registry
from minidl.device import numba_status
from minidl.ops.many import sums_of_squares
from minidl.ops.region_sums import region_sums
from minidl.testing import LAYOUTS, check_exact

pytestmark = [pytest.mark.numba, pytest.mark.skipif(not numba_status(), reason="Numba is not installed")]

IMAGES = [(2, 5, 7, 11), (1, 17, 13, 9)]


def fused(call: Callable[..., Any]) -> Callable[..., Any]:
    """`call` as a module makes it: what can run as one op does."""

    def inside(*inputs: minidl.Tensor) -> Any:
        with deferring():
            return call(*inputs)

    return inside


def at_rest(x: minidl.Tensor) -> minidl.Tensor:
    """Batch-norm by running statistics whose root is a whole number."""
    channels = x.shape[1]
    mean, var = minidl.ones(channels, dtype=x.dtype), minidl.full((channels,), 4.0, dtype=x.dtype)
    return minidl.batch_norm(x, mean, var, eps=0.0)


def feed_forward(x: minidl.Tensor, *weights: minidl.Tensor) -> minidl.Tensor:
    """Two linear maps with a ReLU between them, without a gradient."""
    with minidl.no_grad():
        w1, b1, w2, b2 = weights
        return minidl.linear(minidl.relu(minidl.linear(x, w1, b1)), w2, b2)


PLACES = minidl.tensor(np.random.default_rng(0).integers(0, 7, (3, 11)))
NEAREST = minidl.tensor(np.random.default_rng(0).integers(-80, 80, (1, 5, 6, 2)).astype(np.float32) / 64)


def losses(x: minidl.Tensor) -> minidl.Tensor:
    """Sums of squares and of picked numbers."""
    matrix = x.reshape(x.shape[0] * x.shape[1], -1)
    classes = minidl.arange(matrix.shape[0]) % matrix.shape[1]
    picked = minidl.nn.functional.nll_loss(matrix, classes, reduction="sum")
    few = x[:, :1]
    return minidl.nn.functional.mse_loss(few, (few * 2).detach(), reduction="sum") + picked


def regions(x: minidl.Tensor) -> minidl.Tensor:
    """The numbers of a class where it is true twice, and all others once."""
    classes = minidl.arange(x.numel() // x.shape[1]).reshape(x.shape[0], *x.shape[2:]) * 7 % x.shape[1]
    hit, total, size = region_sums(x, classes, False)
    return hit + total + size


OF_IMAGES = {
    "sums of regions": regions,
    "embedding": lambda x: minidl.embedding(PLACES, x.transpose(0, 2).reshape(x.shape[2], -1)),
    "embedding_bag": lambda x: sum(
        minidl.embedding_bag(PLACES, x.transpose(0, 2).reshape(x.shape[2], -1), mode=mode) for mode in ("sum", "max")),
    "grid_sample": lambda x: minidl.grid_sample(
        x, minidl.cat([NEAREST] * x.shape[0]), mode="nearest", padding_mode="border", align_corners=False),
    "grid_sample between": lambda x: minidl.grid_sample(
        x, minidl.cat([NEAREST] * x.shape[0]), padding_mode="reflection", align_corners=False),
    "affine_grid": lambda x: minidl.affine_grid(x[:, :2, 0, :3], (x.shape[0], 1, 4, 8), align_corners=False),
    "losses": losses,
    "abs": minidl.abs, "relu": minidl.relu, "square": minidl.square, "neg": minidl.neg,
    "leaky_relu": lambda x: minidl.leaky_relu(x, 0.25),
    "shrinks": lambda x: minidl.hardshrink(x, 2) + minidl.softshrink(x, 1) * 8 + minidl.threshold(x, -1, 5) * 64,
    "prelu": lambda x: minidl.prelu(x, minidl.arange(x.shape[1]) * 0.25 - 0.5) + minidl.prelu(x, minidl.tensor([0.5])),
    "clamp": lambda x: minidl.clamp(x, -3, 2),
    "pow": lambda x: x**3 + x**4,
    "add": lambda x: x + x.flip(0), "sub": lambda x: x - x[:1], "mul": lambda x: x * x[..., :1], "div": lambda x: x / 4,
    "mul by channels": lambda x: x * x[:1, :, :1, :1],
    "maximum": lambda x: minidl.maximum(x, x.flip(3)), "minimum": lambda x: minidl.minimum(x, x[0]),
    "sqrt": lambda x: minidl.sqrt(minidl.square(x + 5)),
    "reciprocal": lambda x: minidl.reciprocal(minidl.exp2(x)),
    "rsqrt": lambda x: minidl.rsqrt(minidl.exp2(2 * abs(x))),
    "sum": minidl.sum, "sum of rows": lambda x: x.sum((0, 2)),
    "amax": lambda x: x.amax((2, 3)).detach(), "amin": lambda x: x.amin(1).detach(),
    "mean": lambda x: minidl.pad(x, (0, 16 - x.shape[3])).mean(3),
    **{mode: partial(minidl.pad, pad=(2, 3, 1, 0), mode=mode) for mode in ("reflect", "replicate", "circular")},
    "pad": lambda x: minidl.pad(x, (2, 1, 0, 3), value=2.0) + minidl.pad(x, (4, -1, -2, 5)),
    "pad channels": lambda x: minidl.pad(x, (0, 0, 0, 0, -1, 3)),
    "max_unpool": lambda x: minidl.max_unpool2d(*minidl.max_pool2d(x[..., :6, :8], 2, return_indices=True), 2),
    "median": lambda x: minidl.median(x, 1).values + minidl.nanmedian(x, 3, keepdim=True).values.sum(),
    "triangles": lambda x: minidl.tril(x, 1) + minidl.triu(x, -2) * 2 + minidl.tril(x, -40) + minidl.triu(x.mT, 3).mT,
    "stack": lambda x: minidl.stack([x, x * 2, x], -1).sum(-1) + minidl.stack([x, x], 1)[:, 1],
    "cat": lambda x: minidl.cat([x, x * 2, x], 1), "parts": lambda x: minidl.cat(x.split(2, 1)[::-1], 1),
    "where": lambda x: minidl.where(x > 1, x, x.flip(0)),
    "where, one a number": lambda x: minidl.where(x > 1, x, 3.0) + minidl.where(x > 0, -2.0, x),
    "where, three numbers": lambda x: minidl.where(x.sum() > 1e9, x.sum(), x.amax()),
    "index": lambda x: x[:, minidl.tensor([1, 0, -1, 1])] + x[minidl.tensor([0]), :4],
    "topk": lambda x: minidl.cat([minidl.topk(x, 4).values, minidl.topk(x, 3, largest=False).values], 3),
    "norm": lambda x: minidl.stack([x * 3, x * 4]).norm(dim=0),
    "distances of rows": lambda x: minidl.pairwise_distance(
        minidl.stack([x * 3, x * 4], 4), minidl.zeros_like(minidl.stack([x, x], 4)), eps=0.0),
    "cumsum": lambda x: minidl.cat([x, x] * 8).cumsum(2) + minidl.cat([x, x] * 8).cumsum(3),
    "cumprod": lambda x: minidl.cat([x.sign(), x.sign()] * 8).cumprod(1).detach(),
    "gather": lambda x: minidl.gather(x, 2, minidl.argsort(x, 2)),
    "scatter_add": lambda x: minidl.scatter_add(x, 1, minidl.argsort(x, 1), x * 2),
    "scatter_reduce": lambda x: minidl.cat(
        [minidl.scatter_reduce(x, 3, minidl.argsort(x, 3) // 2, x.flip(3), how).detach()
         for how in ("prod", "amax", "amin")]),
    "max_pool2d": lambda x: minidl.max_pool2d(x, 3, 2, 1),
    "avg_pool2d": lambda x: minidl.avg_pool2d(x, 2, divisor_override=4),
    "avg_pool2d with a border": lambda x: minidl.avg_pool2d(x, 3, 2, 1, divisor_override=8),
    "adaptive_avg_pool2d": lambda x: minidl.adaptive_avg_pool2d(x[..., :6, :6], 4),  # all windows have four pixels
    "adaptive_max_pool2d": lambda x: minidl.adaptive_max_pool2d(x, (3, 4)),
    "nearest": lambda x: minidl.interpolate(x, scale_factor=2),
    "bilinear": lambda x: minidl.interpolate(x, scale_factor=2, mode="bilinear"),
    "linear": lambda x: minidl.interpolate(x[0], scale_factor=2, mode="linear"),
    "bicubic": lambda x: minidl.interpolate(x, scale_factor=2, mode="bicubic"),
    "trilinear": lambda x: minidl.interpolate(x.unsqueeze(0), scale_factor=(0.5, 2, 4), mode="trilinear"),
    "nearest, smaller": lambda x: minidl.interpolate(x, size=(3, 5)),
    "dropout": lambda x: minidl.dropout_by_key(x, minidl.tensor([3, 4]), 0.5),
    "sums_of_squares": lambda x: sums_of_squares([x[0].detach(), x[0, 0].detach()]),
    "batch_norm at rest": at_rest,
    "batch_norm at rest, shortcut and relu": fused(lambda x: minidl.relu(at_rest(x) + x)),
}  # fmt: skip


def drawn(shape: tuple[int, ...], seed: int, high: int = 5) -> minidl.Tensor:
    return minidl.tensor(np.random.default_rng(seed).integers(1 - high, high, shape).astype(np.float32))


@pytest.mark.parametrize("lay", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("shape", IMAGES, ids=str)
@pytest.mark.parametrize("function", OF_IMAGES.values(), ids=OF_IMAGES)
def test_ops_of_images(function, shape, lay) -> None:
    check_exact(function, minidl.Tensor.of(lay(drawn(shape, 1).array)))


PRODUCTS = {
    "matmul": (minidl.matmul, [(37, 41), (41, 43)]),
    "matmul of batches": (minidl.matmul, [(2, 3, 5, 7), (3, 7, 11)]),
    "matmul of a row": (minidl.matmul, [(1, 67), (67, 13)]),
    "linear and relu": (fused(lambda x, w, b: minidl.relu(minidl.linear(x, w, b))), [(19, 23), (29, 23), (29,)]),
    "linear": (minidl.linear, [(19, 23), (29, 23), (29,)]),
    "linear and shortcut": (
        fused(lambda x, w, b: minidl.linear(x, w, b) + x), [(3, 19, 29), (29, 29), (29,)]),
    "linear, relu, linear and shortcut at rest": (
        fused(lambda x, *w: feed_forward(x, *w) + x.detach()), [(67, 23), (70, 23), (70,), (23, 70), (23,)]),
    "linear, relu, linear at rest": (fused(lambda *x: feed_forward(*x)), [(9, 8, 33), (17, 33), (17,), (5, 17), (5,)]),
    "conv1d": (lambda x, w: minidl.conv1d(x, w, padding=2, dilation=2), [(2, 5, 13), (7, 5, 3)]),
    "conv2d": (lambda x, w, b: minidl.conv2d(x, w, b, padding=1), [(2, 17, 7, 9), (19, 17, 3, 3), (19,)]),
    "conv2d of few": (lambda x, w: minidl.conv2d(x, w, padding=1), [(2, 3, 9, 7), (18, 3, 5, 5)]),
    "conv2d with strides": (lambda x, w: minidl.conv2d(x, w, stride=(2, 1)), [(2, 9, 8, 9), (11, 9, 3, 2)]),
    "conv2d in groups": (lambda x, w: minidl.conv2d(x, w, groups=3), [(2, 15, 6, 7), (9, 5, 3, 3)]),
    "conv2d depthwise": (lambda x, w: minidl.conv2d(x, w, padding=1, groups=13), [(2, 13, 7, 6), (13, 1, 3, 3)]),
    "conv2d 1x1": (minidl.conv2d, [(2, 17, 5, 7), (13, 17, 1, 1)]),
    "conv3d": (lambda x, w: minidl.conv3d(x, w, padding=1), [(1, 5, 4, 5, 6), (7, 5, 3, 3, 3)]),
    "conv_transpose2d": (lambda x, w: minidl.conv_transpose2d(x, w, stride=2), [(2, 9, 4, 5), (9, 7, 3, 3)]),
    "conv and relu": (fused(lambda x, w: minidl.relu(minidl.conv2d(x, w))), [(2, 9, 6, 7), (11, 9, 3, 3)]),
    "conv and relu6 at rest": (
        fused(lambda x, w: minidl.clamp(minidl.conv2d(x.detach(), w.detach()), 0, 6)), [(2, 9, 6, 7), (11, 9, 3, 3)]),
    "conv and leaky relu at rest": (
        fused(lambda x, w: minidl.leaky_relu(minidl.conv2d(x.detach(), w.detach()), 0.25)),
        [(2, 9, 6, 7), (11, 9, 3, 3)]),
    "conv and shortcut": (fused(lambda x, w: minidl.conv2d(x, w, padding=1) + x), [(2, 9, 6, 7), (9, 9, 3, 3)]),
    "conv_transpose and relu": (
        fused(lambda x, w: minidl.relu(minidl.conv_transpose2d(x, w, stride=2))), [(2, 9, 4, 5), (9, 7, 3, 3)]),
    "rnn": (
        lambda x, h, w, r, b: minidl.rnn_sequence(x, h, w / 4, r / 4, b, nonlinearity="relu"),
        [(2, 3, 7), (1, 3, 5), (1, 5, 7), (1, 5, 5), (1, 5)]),
}  # fmt: skip


@pytest.fixture(params=["auto", "direct", "implicit"])
def plain_sums(request):
    """Convolutions by each algorithm that adds products as they are."""
    minidl.set_conv_precision("exact")
    minidl.set_conv_algorithm(request.param)
    yield
    minidl.set_conv_algorithm("auto")
    minidl.set_conv_precision("fast")


@pytest.mark.usefixtures("plain_sums")
@pytest.mark.parametrize(("function", "shapes"), PRODUCTS.values(), ids=PRODUCTS)
def test_products(function, shapes) -> None:
    inputs = [drawn(shape, seed, 3) for seed, shape in enumerate(shapes)]
    assert check_exact(function, *inputs)


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_winograd_stays_within_its_bound(dtype, bound) -> None:
    """Its transforms divide by 4, 6 and 24, so it rounds: 1e-5 of the largest number in float32, as is promised."""
    x, w = (drawn(s, i).to(dtype).requires_grad_() for i, s in enumerate([(2, 17, 13, 11), (19, 17, 3, 3)]))

    def run(algorithm: str) -> list[np.ndarray]:
        x.grad = w.grad = None
        minidl.set_conv_algorithm(algorithm)
        try:
            y = minidl.conv2d(x, w, padding=1)
            y.backward(minidl.ones(y.shape, dtype=y.dtype) * 2)
        finally:
            minidl.set_conv_algorithm("auto")
        return [t.numpy() for t in (y.detach(), x.grad, w.grad)]

    for fast, exact in zip(run("winograd"), run("im2col"), strict=True):
        assert 0 < np.abs(fast - exact).max() <= bound * np.abs(exact).max()


# Kernels whose results are not whole numbers for whole numbers. `ulps.json` says how far they are from the exact ones.
ROUNDED = {
    "takes exponentials or logarithms": {
        "conv_gru_sequence", "conv_gru_sequence_grad", "conv_lstm_sequence", "conv_lstm_sequence_grad",
        "cross_entropy", "cross_entropy_grad", "ctc", "ctc_grad", "elu", "elu_grad", "erf", "exp", "expm1",
        "gelu", "gelu_grad", "glu", "glu_grad",
        "gelu_tanh", "gelu_tanh_grad", "gru_sequence", "gru_sequence_grad", "log", "log1p", "log_softmax",
        "log_softmax_grad", "lstm_sequence", "lstm_sequence_grad", "sigmoid", "sigmoid_grad", "silu", "silu_grad",
        "softmax", "softmax_grad", "softplus", "softplus_grad", "tanh", "tanh_grad", "celu", "celu_grad", "logsigmoid",
        "logsigmoid_grad", "mish", "mish_grad", "selu", "selu_grad", "tanhshrink", "tanhshrink_grad",
        "soft_cross_entropy", "soft_cross_entropy_grad",
    },
    "divides by the length of a row": {"unit_rows", "unit_rows_grad", "row_distance_grad"},
    "divides by 1 + |x|": {"softsign", "softsign_grad"},
    "divides by 3 or 6": {"hardsigmoid", "hardsigmoid_grad", "hardswish", "hardswish_grad"},
    "takes exponentials": {"attention", "attention_grad", "linear_then_kept"},
    "multiplies by places between pixels": {"grid_sample_grad_grid"},
    "divides by lengths": {"cosine", "cosine_grad"},
    "divides by a count, or by the root of a variance": {
        "group_moments", "group_normalize", "group_normalize_grad",
        "batch_moments", "batch_normalize", "batch_normalize_add_relu", "batch_normalize_add_relu_grad",
        "batch_normalize_grad", "normalize", "normalize_grad", "rms_normalize", "rms_normalize_grad",
        "multi_margin", "multi_margin_grad", "multilabel_margin", "multilabel_margin_grad",  # exact for 16 classes
    },
}  # fmt: skip


def test_every_compiled_kernel_is_compared_or_says_why_not() -> None:
    """Kernels that change their input in place (optimisers) are compared in tests/minidl/ops/test_steps.py."""
    compared: set[str] = set()
    for function in OF_IMAGES.values():
        compared |= check_exact(function, drawn(IMAGES[0], 1))
    minidl.set_conv_precision("exact")
    try:
        for function, shapes in PRODUCTS.values():
            compared |= check_exact(function, *[drawn(shape, seed, 3) for seed, shape in enumerate(shapes)])
    finally:
        minidl.set_conv_precision("fast")
    ours = [op for op in registry.ops.values() if op.__module__.startswith("minidl.")]
    compiled = {op.name for op in ours if op.cpu is not None and not issubclass(op, UpdateOp)}
    assert compiled - compared == set.union(*ROUNDED.values())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("power", [-3, -2, -1, 0, 1, 2, 3, 4, 5])
def test_whole_powers_of_negative_numbers(power: int, dtype: Any) -> None:
    """Of powers of two every result is exact; zeros and infinities keep the signs that NumPy gives them."""
    numbers = np.ldexp(1.0, np.arange(-20, 21))
    x = np.tile(np.concatenate([numbers, -numbers, [0.0, -0.0, np.inf, -np.inf, np.nan]]), 100).astype(dtype)
    with np.errstate(all="ignore"):
        expected = np.power(x, dtype(power))
    for stretch in (slice(None), slice(86)):
        found = (minidl.tensor(x[stretch]) ** power).numpy()
        np.testing.assert_array_equal(found, expected[stretch])
        number = ~np.isnan(found)
        np.testing.assert_array_equal(np.signbit(found[number]), np.signbit(expected[stretch][number]))
