"""Gradients that meet behind a skip connection: those of convolutions and linear maps are added in their kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import minidl
import minidl.nn.functional as F
from minidl.core import launching
from minidl.ops.conv import ConvGradInput

# image, filters, channels of a weight, kernel, stride, padding, dilation, groups
SHAPES = [
    ((2, 16, 11, 9), 24, 16, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 3, 9, 9), 5, 3, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((3, 20, 7, 7), 17, 20, (3, 3), (2, 2), (1, 1), (1, 1), 1),
    ((2, 32, 8, 8), 12, 32, (1, 1), (2, 2), (0, 0), (1, 1), 1),
    ((2, 32, 8, 8), 64, 32, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((1, 6, 6, 5, 4), 10, 3, (3, 2, 3), (1, 2, 1), (1, 1, 1), (1, 1, 2), 2),
    ((2, 40, 12), 3, 40, (7,), (1,), (3,), (1,), 1),
    ((2, 24, 8, 9), 24, 1, (3, 3), (2, 1), (1, 1), (1, 1), 24),
    ((2, 3, 8, 9), 3, 1, (5, 3), (2, 1), (2, 2), (1, 1), 3),
]


def whole(*shape: int, seed: int) -> minidl.Tensor:
    return minidl.tensor(np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32))


@pytest.mark.parametrize("algorithm", ["implicit", "direct", "winograd", "im2col"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_algorithm_adds_its_gradient_to_what_is_there(shape, algorithm: str) -> None:
    image, filters, channels, kernel, stride, padding, dilation, groups = shape
    spans = zip(image[2:], kernel, stride, padding, dilation, strict=True)
    windows = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in spans]
    g, weight, present = whole(image[0], filters, *windows, seed=0), whole(filters, channels, *kernel, seed=1), whole(
        *image, seed=2
    )  # fmt: skip
    how = {"image": image[2:], "stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    minidl.set_conv_algorithm(algorithm)
    try:
        joined = ConvGradInput.apply(g, weight, present, **how)
    finally:
        minidl.set_conv_algorithm("auto")
    alone = np.empty(image, np.float32)
    ConvGradInput.reference(np, alone, g.array, weight.array, **how)
    if algorithm == "winograd":  # Winograd's sums are rounded
        np.testing.assert_allclose(joined.numpy(), alone + present.numpy(), atol=1e-5 * np.abs(alone).max())
    else:
        np.testing.assert_array_equal(joined.numpy(), alone + present.numpy())


def ran_backward(loss: minidl.Tensor) -> list[str]:
    names: list[str] = []

    def note(call) -> None:
        names.append(call.op.name)
        call.run()

    with launching(note):
        loss.backward()
    return names


def block(x: minidl.Tensor, weight: minidl.Tensor) -> minidl.Tensor:
    """Two branches and a skip connection, all from x * 2."""
    y = x * 2.0
    branches = F.conv2d(y, weight, padding=1), F.conv2d(y, weight, padding=1).relu()
    return (branches[0] + branches[1] + y).pow(2).sum()


def by_richardson(f: Callable[[np.ndarray], float], x: np.ndarray) -> np.ndarray:
    """The gradient of a quartic by central differences of two widths."""
    slopes = np.empty_like(x)
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = 1e-3
        one, two = ((f(x + k * step) - f(x - k * step)) / (2e-3 * k) for k in (1, 2))
        slopes[i] = (4 * one - two) / 3
    return slopes


def test_no_pass_adds_what_convolutions_send_to_one_place() -> None:
    rng = np.random.default_rng(0)
    data, weight = rng.standard_normal((1, 4, 5, 4)), minidl.tensor(rng.standard_normal((4, 4, 3, 3)))
    x = minidl.tensor(data, requires_grad=True)
    names = ran_backward(block(x, weight))
    assert names.count("conv_grad_input") == 2
    assert "add" not in names
    slopes = by_richardson(lambda data: block(minidl.tensor(data), weight).item(), data)
    np.testing.assert_allclose(x.grad.numpy(), slopes, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rows", [3, 64])
@pytest.mark.parametrize("activation", [None, "tanh", "gelu"])
def test_linear_maps_add_theirs_too(rows: int, activation: str | None) -> None:
    rng = np.random.default_rng(0)
    data, weights = rng.standard_normal((rows, 64)), [rng.standard_normal((64, 64)) / 8 for _ in range(2)]

    class Two(minidl.nn.Module):
        def forward(self, x: minidl.Tensor) -> minidl.Tensor:
            y = x * 2.0
            first, second = (F.linear(y, minidl.tensor(w)) for w in weights)
            return (second if activation is None else getattr(F, activation)(second)) * first + y

    x = minidl.tensor(data, requires_grad=True)
    names = ran_backward(Two()(x).pow(2).sum())
    assert "add" not in names
    assert names.count("linear_grad") == 2
    moved = rng.standard_normal(data.shape)  # one direction is enough: a term that is missing has no zero along it
    along = by_richardson(lambda step: Two()(minidl.tensor(data + step[0] * moved)).pow(2).sum().item(), np.zeros(1))
    np.testing.assert_allclose((x.grad.numpy() * moved).sum(), along[0], rtol=1e-6)


def test_a_hook_of_the_step_sees_its_own_gradient_alone() -> None:
    x, weight = whole(1, 2, 4, 4, seed=0).requires_grad_(), whole(2, 2, 3, 3, seed=1)
    y = x * 1.0
    z = F.conv2d(y, weight, padding=1)
    seen: list[np.ndarray] = []
    z.grad_fn.register_hook(lambda inputs, outputs: seen.append(inputs[0].numpy().copy()))
    (z + y).sum().backward()
    alone = F.conv_transpose2d(minidl.ones(1, 2, 4, 4), weight, padding=1).numpy()
    np.testing.assert_array_equal(seen[0], alone)
    np.testing.assert_array_equal(x.grad.numpy(), alone + 1)


def test_recorded_walks_and_those_of_narrow_types_add_in_steps_of_their_own() -> None:
    x, weight = whole(1, 2, 4, 4, seed=0).requires_grad_(), whole(2, 2, 3, 3, seed=1)
    y = x * 1.0
    (first,) = minidl.autograd.grad((F.conv2d(y, weight, padding=1) ** 2 + y**2).sum(), x, create_graph=True)
    (second,) = minidl.autograd.grad(first.sum(), x)
    spread = F.conv_transpose2d(F.conv2d(minidl.ones(1, 2, 4, 4), weight, padding=1), weight, padding=1)
    np.testing.assert_array_equal(second.numpy(), 2 * spread.numpy() + 2)
    half = x.detach().half().requires_grad_()
    y = half * 1.0
    (F.conv2d(y, weight.half(), padding=1) + y).sum().backward()
    assert half.grad.dtype == np.float16
