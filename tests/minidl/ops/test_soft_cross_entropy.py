"""cross_entropy with probabilities as the target: values and derivatives are PyTorch's, in every layout."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl.core import launching
from minidl.device import get_num_threads, set_num_threads

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def drawn(shape, is_last, dtype=np.float64):
    rng = np.random.default_rng(0)
    x, t, w = rng.standard_normal(shape) * 3, rng.random(shape), rng.random(shape[1])
    if is_last and len(shape) > 2:
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    return x.astype(dtype, "K"), t.astype(dtype), w.astype(dtype)


def results(lib, x, t, w, options):
    tensor = minidl.Tensor.of if lib is minidl else torch.from_numpy
    leaf = tensor(x).requires_grad_(True)
    loss = lib.nn.functional.cross_entropy(leaf, tensor(t), None if w is None else tensor(w), **options)
    total = (loss * loss).sum()
    total.backward(retain_graph=True)
    (g,) = lib.autograd.grad(total, [leaf], create_graph=True)
    (second,) = lib.autograd.grad((g * g).sum(), [leaf])
    return [a.detach().numpy() for a in (loss, leaf.grad, g, second)]


@pytest.mark.parametrize("shape", [(7, 5), (40, 100), (3, 4, 9, 11), (2, 3, 700), (2, 40, 20, 21)])
@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.2, "reduction": "sum"}, {"reduction": "none"}])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("compiled", [True, False])
def test_values_and_derivatives_are_pytorchs(shape, is_last, options, weighted, compiled) -> None:
    x, t, w = drawn(shape, is_last)
    given, names = (x, t, w if weighted else None, options), []

    def note(call):
        names.append(call.op.name)
        call.run()

    minidl.use_numba(compiled)
    try:
        with launching(note):
            ours = results(minidl, *given)
    finally:
        minidl.use_numba(True)
    assert {"soft_cross_entropy", "soft_cross_entropy_grad"} <= set(names)
    for mine, other in zip(ours, results(torch, *given), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("is_last", [False, True])
def test_bits_do_not_depend_on_the_number_of_threads(is_last) -> None:
    x, t, _ = drawn((5, 6, 90, 70), is_last, np.float32)
    before, found = get_num_threads(), []
    try:
        for threads in (1, 2, 7):
            set_num_threads(threads)
            leaf = minidl.Tensor.of(x).requires_grad_(True)
            loss = minidl.nn.functional.cross_entropy(leaf, minidl.Tensor.of(t))
            loss.backward()
            found.append((loss.detach().numpy(), leaf.grad.numpy()))
    finally:
        set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
