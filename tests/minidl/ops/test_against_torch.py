"""Values and gradients of the rooms with many options, against PyTorch in float64.

Both sides do the same sums in another order, so 1e-10 of the largest value is ample and still finds a wrong term.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import minidl

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
F = torch.nn.functional


def agree(ours, theirs, *arrays, kept=()) -> None:
    """Both functions give the same values and, for random weights, the same gradients."""
    mine = [minidl.tensor(a).requires_grad_(a.dtype == np.float64) for a in arrays]
    other = [torch.tensor(a, requires_grad=a.dtype == np.float64) for a in arrays]
    y, z = ours(*mine), theirs(*other)
    assert tuple(y.shape) == tuple(z.shape)
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-10, atol=1e-10)
    weights = np.random.default_rng(5).standard_normal(y.shape)
    y.backward(minidl.tensor(weights))
    z.backward(torch.tensor(weights))
    for a, b in zip(mine, other, strict=True):
        if b.grad is not None:
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-10, atol=1e-10)


def random(*shapes, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s) for s in shapes]


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups", "kernel"),
    list(itertools.product([1, 2, (2, 3)], [0, 1, (2, 1)], [1, 2], [1, 2, 4], [1, 3, (2, 3)])),
)
def test_conv2d(stride, padding, dilation, groups, kernel) -> None:
    kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    agree(
        lambda x, w, b: minidl.conv2d(x, w, b, **options),
        lambda x, w, b: F.conv2d(x, w, b, **options),
        *random((2, 4, 9, 8), (8, 4 // groups, kh, kw), (8,)),
    )


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_conv2d_with_padding_same(kernel, dilation) -> None:
    agree(
        lambda x, w: minidl.conv2d(x, w, padding="same", dilation=dilation),
        lambda x, w: F.conv2d(x, w, padding="same", dilation=dilation),
        *random((2, 3, 9, 8), (4, 3, kernel, kernel)),
    )


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("batch", [True, False])
def test_conv_in_every_dimension(dims, batch) -> None:
    image = (7, 6, 5)[:dims]
    agree(
        lambda x, w: getattr(minidl, f"conv{dims}d")(x, w, stride=2, padding=1),
        lambda x, w: getattr(F, f"conv{dims}d")(x, w, stride=2, padding=1),
        *random((2, 3, *image) if batch else (3, *image), (4, 3, *(3, 2, 3)[:dims])),
    )


@pytest.mark.parametrize(
    ("stride", "padding", "extra", "groups", "dilation"),
    [
        (1, 0, 0, 1, 1),
        (2, 1, 1, 1, 1),
        (2, 0, 0, 2, 1),
        ((2, 3), (1, 0), (1, 2), 2, 1),
        (1, 1, 1, 1, 2),
        (3, 2, 2, 4, 1),
    ],
)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_conv_transpose(dims, stride, padding, extra, groups, dilation) -> None:
    if dims != 2 and isinstance(stride, tuple):
        stride, padding, extra = stride[0], padding[0], extra[0]
    args = (stride, padding, extra, groups, dilation)
    agree(
        lambda x, w, b: getattr(minidl, f"conv_transpose{dims}d")(x, w, b, *args),
        lambda x, w, b: getattr(F, f"conv_transpose{dims}d")(x, w, b, *args),
        *random((2, 4, *(4, 5, 3)[:dims]), (4, 8 // groups, *(3, 2, 3)[:dims]), (8,)),
    )


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "ceil"),
    [
        (2, None, 0, 1, False),
        (3, 2, 1, 1, False),
        (3, 2, 1, 1, True),
        ((3, 2), (1, 2), (1, 0), (2, 1), False),
        (2, 3, 1, 1, True),
    ],
)
@pytest.mark.parametrize("compiled", [True, False])
def test_max_pool2d(kernel, stride, padding, dilation, ceil, compiled) -> None:
    args = (kernel, stride, padding, dilation, ceil)
    with minidl.use_numba(compiled):
        (x,) = random((2, 3, 9, 8))
        agree(lambda x: minidl.max_pool2d(x, *args), lambda x: F.max_pool2d(x, *args), x)
        _, places = minidl.max_pool2d(minidl.tensor(x), *args, return_indices=True)
        _, theirs = F.max_pool2d(torch.tensor(x), *args, return_indices=True)
        np.testing.assert_array_equal(places.numpy(), theirs.numpy())


@pytest.mark.parametrize("compiled", [True, False])
def test_max_pool_lets_nan_win_and_takes_the_first_of_equals(compiled) -> None:
    x = np.zeros((1, 1, 4, 4), np.float32)
    x[0, 0, 1, 0] = np.nan
    with minidl.use_numba(compiled):
        values, places = minidl.max_pool2d(minidl.tensor(x), 2, return_indices=True)
    theirs, their_places = F.max_pool2d(torch.tensor(x), 2, return_indices=True)
    np.testing.assert_array_equal(values.numpy(), theirs.numpy())
    np.testing.assert_array_equal(places.numpy(), their_places.numpy())


@pytest.mark.parametrize("dims", [1, 3])
def test_pools_in_other_dimensions(dims) -> None:
    (x,) = random((2, 3, *(8, 7, 6)[:dims]))
    for name in ("max_pool", "avg_pool"):
        agree(lambda x, n=name: getattr(minidl, f"{n}{dims}d")(x, 3, 2, 1),
              lambda x, n=name: getattr(F, f"{n}{dims}d")(x, 3, 2, 1), x)  # fmt: skip


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "ceil", "include", "divisor"),
    [
        (2, None, 0, False, True, None), (3, 2, 1, False, True, None), (3, 2, 1, True, True, None),
        (3, 2, 1, True, False, None), ((2, 3), (3, 1), (1, 1), True, True, 5), (2, 3, 1, True, False, None),
    ],
)  # fmt: skip
def test_avg_pool2d(kernel, stride, padding, ceil, include, divisor) -> None:
    args = (kernel, stride, padding, ceil, include, divisor)
    agree(lambda x: minidl.avg_pool2d(x, *args), lambda x: F.avg_pool2d(x, *args), *random((2, 3, 9, 8)))


@pytest.mark.parametrize("size", [1, 3, (4, 2), (None, 5), (9, 8)])
def test_adaptive_avg_pool2d(size) -> None:
    agree(
        lambda x: minidl.adaptive_avg_pool2d(x, size), lambda x: F.adaptive_avg_pool2d(x, size), *random((2, 3, 9, 8))
    )


@pytest.mark.parametrize(
    "options",
    [
        {"size": (7, 11)}, {"size": 3}, {"scale_factor": 2}, {"scale_factor": (1.7, 0.6)},
        {"size": (7, 11), "mode": "bilinear"}, {"size": (7, 11), "mode": "bilinear", "align_corners": True},
        {"scale_factor": 2, "mode": "bilinear"}, {"scale_factor": (1.7, 0.6), "mode": "bilinear"},
        {"size": (1, 4), "mode": "bilinear", "align_corners": True},
    ],
    ids=str,
)  # fmt: skip
def test_interpolate(options) -> None:
    agree(lambda x: minidl.interpolate(x, **options), lambda x: F.interpolate(x, **options), *random((2, 3, 5, 6)))


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad(mode) -> None:
    agree(lambda x: minidl.pad(x, (2, 1, 0, 3), mode), lambda x: F.pad(x, (2, 1, 0, 3), mode), *random((2, 3, 5, 6)))


def test_pad_with_negative_numbers_cuts_off() -> None:
    agree(lambda x: minidl.pad(x, (-1, 2), value=4.0), lambda x: F.pad(x, (-1, 2), value=4.0), *random((2, 5)))


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_of_classes(weighted, smoothing, reduction) -> None:
    x, w = random((4, 3, 5), (3,))
    target = np.random.default_rng(1).integers(0, 3, (4, 5))
    target[1, 2] = -100
    options = {"label_smoothing": smoothing, "reduction": reduction}
    weight = np.abs(w) if weighted else None
    agree(
        lambda x: minidl.cross_entropy(
            x, minidl.tensor(target), None if weight is None else minidl.tensor(weight), **options
        ),
        lambda x: F.cross_entropy(x, torch.tensor(target), None if weight is None else torch.tensor(weight), **options),
        x,
    )


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (3,)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_of_probabilities(shape, reduction) -> None:
    x, p = random(shape, shape)
    p = np.exp(p) / np.exp(p).sum(min(1, len(shape) - 1), keepdims=True)
    options = {"label_smoothing": 0.1, "reduction": reduction}
    agree(lambda x, p: minidl.cross_entropy(x, p, **options), lambda x, p: F.cross_entropy(x, p, **options), x, p)


def test_binary_losses() -> None:
    x, w, q = random((4, 3), (4, 3), (3,))
    t = 1 / (1 + np.exp(-random((4, 3), seed=3)[0]))
    agree(
        lambda x, t: minidl.binary_cross_entropy_with_logits(x, t, minidl.tensor(w), pos_weight=minidl.tensor(abs(q))),
        lambda x, t: F.binary_cross_entropy_with_logits(x, t, torch.tensor(w), pos_weight=torch.tensor(abs(q))),
        x, t,
    )  # fmt: skip
    p = 1 / (1 + np.exp(-x))
    p[0, 0], p[0, 1] = 0.0, 1.0
    with minidl.no_grad():
        ours = minidl.binary_cross_entropy(minidl.tensor(p), minidl.tensor(t))
    assert float(ours) == pytest.approx(float(F.binary_cross_entropy(torch.tensor(p), torch.tensor(t))), rel=1e-12)


@pytest.mark.parametrize("x", [-1e4, -80.0, -20.0, -1e-8, 0.0, 1e-8, 20.0, 80.0, 1e4])
def test_stable_functions_agree_at_the_ends(x) -> None:
    """PyTorch's float64 results; float32 within four units in the last place."""
    for name in ("sigmoid", "tanh", "softplus", "silu", "gelu", "elu", "logsigmoid"):
        if hasattr(minidl, name):
            ours = float(getattr(minidl, name)(minidl.tensor([x], dtype=np.float32)))
            theirs = float((getattr(F, name, None) or getattr(torch, name))(torch.tensor([x], dtype=torch.float64)))
            assert ours == pytest.approx(theirs, rel=4.8e-7, abs=1e-30), name


def test_batch_norm_running_statistics() -> None:
    x, mean, var = random((6, 3, 4), (3,), (3,))
    ours = [minidl.tensor(mean), minidl.tensor(abs(var))]
    theirs = [torch.tensor(mean), torch.tensor(abs(var))]
    for training in (True, False):
        y = minidl.batch_norm(minidl.tensor(x), *ours, training=training, momentum=0.3)
        z = F.batch_norm(torch.tensor(x), *theirs, training=training, momentum=0.3)
        np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=1e-10, atol=1e-12)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10)


def test_convolution_and_its_transpose_are_adjoint() -> None:
    """<conv(x), y> == <x, conv_transpose(y)>, a formula that needs no other library."""
    x, w, y = (minidl.tensor(a) for a in random((2, 4, 9, 8), (6, 2, 3, 3), (2, 6, 5, 4)))
    options = {"stride": 2, "padding": 1, "groups": 2}
    left = (minidl.conv2d(x, w, **options) * y).sum()
    right = (minidl.conv_transpose2d(y, w, output_padding=(0, 1), **options) * x).sum()
    assert left.item() == pytest.approx(right.item(), rel=1e-12)
