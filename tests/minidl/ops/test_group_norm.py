"""Group and instance norm of images in either layout: values and gradients are PyTorch's."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

import minidl
from minidl.core import Tensor, deferring, launching
from minidl.device import get_num_threads, set_num_threads

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def channels_last(array):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


def draw(shape, dtype=np.float64):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(dtype) * 3 + 50  # far from zero: squares must not cancel
    return x, *(rng.standard_normal(shape[1]).astype(dtype) for _ in "wb"), rng.standard_normal(shape).astype(dtype)


def results(lib, tensors, g, groups):
    x, weight, bias = tensors
    F = lib.nn.functional
    found = F.instance_norm(x, None, None, weight, bias) if groups is None else F.group_norm(x, groups, weight, bias)
    found.backward(g)
    return [found.detach().numpy(), *[t.grad.numpy() for t in tensors]]


@pytest.mark.parametrize("shape", [(2, 8, 5, 7), (3, 2, 16, 8), (1, 66, 3, 4, 5), (2, 4, 40)])
@pytest.mark.parametrize("groups", [1, 2, None])
@pytest.mark.parametrize("compiled", [True, False])
def test_images_that_lie_channels_last(shape, groups, compiled) -> None:
    x, weight, bias, g = draw(shape)
    names = []

    def note(call):
        names.append(call.op.name)
        call.run()

    minidl.use_numba(compiled)
    try:
        with launching(note):
            tensors = [Tensor.of(a).requires_grad_(True) for a in (channels_last(x), weight, bias)]
            ours = results(minidl, tensors, Tensor.of(channels_last(g)), groups)
    finally:
        minidl.use_numba(True)
    theirs = results(torch, [torch.tensor(a, requires_grad=True) for a in (x, weight, bias)], torch.tensor(g), groups)
    assert {"group_normalize", "group_normalize_grad"} <= set(names)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-8, atol=1e-9)  # of numbers near 50, 1e-16 of them is 1e-14


def test_second_derivatives_do_not_depend_on_the_layout() -> None:
    x, weight, bias, g = draw((2, 4, 3, 3))
    found = []
    for array in (x, channels_last(x)):
        t = Tensor.of(array).requires_grad_(True)
        y = minidl.nn.functional.group_norm(t, 2, minidl.tensor(weight), minidl.tensor(bias))
        (slope,) = minidl.autograd.grad((y * y * minidl.tensor(g)).sum(), [t], create_graph=True)
        slope.square().sum().backward()
        found.append(t.grad.numpy())
    np.testing.assert_allclose(*found, rtol=1e-9, atol=1e-12)


def test_moments_of_16_bits_are_not_rounded_to_them() -> None:
    """A mean near 30 rounded to float16 is off by up to 0.008; a result near 1 by 0.0005."""
    x = (np.random.default_rng(0).standard_normal((2, 8, 12, 12)) + 30).astype(np.float16)
    y = minidl.nn.functional.group_norm(Tensor.of(channels_last(x)), 2)
    wanted = torch.nn.functional.group_norm(torch.tensor(x.astype(np.float64)), 2)
    np.testing.assert_allclose(y.numpy().astype(np.float64), wanted.numpy(), rtol=2e-3, atol=2e-3)


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    x, weight, bias, g = draw((3, 12, 40, 50), np.float32)
    before, found = get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7, 16):
            set_num_threads(threads)
            tensors = [Tensor.of(a).requires_grad_(True) for a in (channels_last(x), weight, bias)]
            found.append(results(minidl, tensors, Tensor.of(channels_last(g)), 3))
    finally:
        set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", [(3, 5, 7, 9), (2, 3, 2050), (2, 6, 3, 4, 5)])
@pytest.mark.parametrize("layouts", [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)])
@pytest.mark.parametrize("with_residual", [True, False])
def test_batch_norm_takes_every_layout(shape, layouts, with_residual) -> None:
    """Of the input, the residual under a ReLU, and the gradient of the result."""
    x, weight, bias, g = draw(shape)
    residual = np.random.default_rng(1).standard_normal(shape)

    def lay(array, is_last):
        return Tensor.of(channels_last(array) if is_last else array.copy())

    ours = [lay(x, layouts[0]), lay(residual, layouts[1]), minidl.tensor(weight), minidl.tensor(bias)]
    theirs = [torch.tensor(a) for a in (x, residual, weight, bias)]
    found = []
    for lib, tensors, gradient in ((minidl, ours, lay(g, layouts[2])), (torch, theirs, torch.tensor(g))):
        tensors = [t.requires_grad_(True) for t in tensors]
        with deferring() if lib is minidl else nullcontext():
            y = lib.nn.functional.batch_norm(tensors[0], None, None, *tensors[2:], training=True)
            y = lib.relu(y + tensors[1]) if with_residual else lib.relu(y)
        y.backward(gradient)
        grads = [t.grad.numpy() for t in tensors if with_residual or t is not tensors[1]]
        found.append([y.detach().numpy(), *grads])
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-8, atol=1e-9)
