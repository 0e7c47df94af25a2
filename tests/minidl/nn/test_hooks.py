from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import GradError


def test_hooks_see_and_may_change_arguments_and_result() -> None:
    layer = nn.Identity()
    layer.register_forward_pre_hook(lambda module, args: args[0] + 1)
    layer.register_forward_hook(lambda module, args, output: output * 10)
    assert layer(minidl.tensor([1.0])).tolist() == [20.0]


def test_a_hook_that_returns_nothing_only_looks() -> None:
    seen = []
    layer = nn.ReLU()
    layer.register_forward_hook(lambda module, args, output: seen.append((module, args[0].item(), output.item())))
    assert layer(minidl.tensor([-1.0])).item() == 0
    assert seen == [(layer, -1.0, 0.0)]


def test_a_removed_hook_is_not_called() -> None:
    layer = nn.Identity()
    handle = layer.register_forward_hook(lambda module, args, output: output * 0)
    handle.remove()
    handle.remove()
    with layer.register_forward_hook(lambda module, args, output: output + 1):
        assert layer(minidl.tensor([1.0])).item() == 2
    assert layer(minidl.tensor([1.0])).item() == 1


def test_hooks_with_keywords_order_and_after_errors() -> None:
    class Scale(nn.Module):
        def forward(self, x, factor=1.0):
            return x * factor

    layer, seen = Scale(), []
    layer.register_forward_pre_hook(lambda m, args, kwargs: (args, {"factor": kwargs["factor"] + 1}), with_kwargs=True)
    layer.register_forward_hook(lambda m, args, kwargs, out: seen.append((2, kwargs["factor"])), with_kwargs=True)
    layer.register_forward_hook(lambda m, args, out: seen.append((1, None)), prepend=True)
    layer.register_forward_hook(lambda m, args, out: seen.append((3, out)), always_call=True)
    assert layer(minidl.tensor([3.0]), factor=1.0).item() == 6.0
    assert [n for n, _ in seen] == [1, 2, 3]


def test_an_error_in_forward_calls_only_the_hooks_that_are_always_called() -> None:
    class Broken(nn.Module):
        def forward(self, x):
            raise ZeroDivisionError

    layer, seen = Broken(), []
    layer.register_forward_hook(lambda m, args, out: seen.append("never"))
    layer.register_forward_hook(lambda m, args, out: seen.append(out), always_call=True)
    with pytest.raises(ZeroDivisionError):
        layer(minidl.ones(1))
    assert seen == [None]


def test_hooks_with_keywords_must_give_both() -> None:
    layer = nn.Identity()
    layer.register_forward_pre_hook(lambda m, args, kwargs: args, with_kwargs=True)
    with pytest.raises(
        GradError, match=r"a hook with kwargs must return None or \(args, kwargs\), it returned a tuple"
    ):
        layer(minidl.ones(1))


def backward_of_two_layers(m, hooked):
    """The gradients that hooks see and leave, in either library."""
    x = m.tensor([[1.0, -2.0], [0.5, 3.0]], requires_grad=True)
    first, second = m.nn.Linear(2, 2), m.nn.Tanh()
    with m.no_grad():
        first.weight.copy_(m.tensor([[1.0, 2.0], [3.0, -1.0]]))
        first.bias.zero_()
    seen = []
    hooked(first, second, seen)
    second(first(x)).sum().backward()
    return (
        [[None if g is None else g.numpy() for g in grads] for grads in seen],
        x.grad.numpy(),
        first.weight.grad.numpy(),
    )


def test_backward_hooks_see_and_change_what_pytorchs_do() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    def hooked(first, second, seen):
        second.register_full_backward_pre_hook(lambda m, grads: (grads[0] * 2,))
        second.register_full_backward_hook(lambda m, g_in, g_out: seen.append((*g_in, *g_out)))
        first.register_full_backward_hook(lambda m, g_in, g_out: seen.append((*g_in, *g_out)))
        first.register_full_backward_hook(lambda m, g_in, g_out: (g_in[0] * 10,))

    ours, theirs = (backward_of_two_layers(m, hooked) for m in (minidl, torch))
    for mine, other in zip(ours[0], theirs[0], strict=True):
        for a, b in zip(mine, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours[2], theirs[2], rtol=1e-5, atol=1e-5)


def test_backward_hooks_of_a_module_whose_inputs_need_no_gradient() -> None:
    layer, seen = nn.Linear(2, 1), []
    layer.register_full_backward_hook(lambda m, g_in, g_out: seen.append((g_in, g_out[0].tolist())))
    layer(minidl.ones(3, 2)).sum().backward()
    assert seen == [((None,), [[1.0]] * 3)]


def test_backward_hooks_of_several_inputs_and_results() -> None:
    class Both(nn.Module):
        def forward(self, x, scale, y):
            return x * scale, x + y

    layer, seen = Both(), []
    layer.register_full_backward_hook(lambda m, g_in, g_out: seen.append([g and g.item() for g in (*g_in, *g_out)]))
    x, y = minidl.ones(1, requires_grad=True), minidl.ones(1, requires_grad=True)
    product, total = layer(x, 3.0, y)
    (product + 5 * total).backward()
    assert seen == [[8.0, 5.0, 1.0, 5.0]]


def test_a_backward_hook_must_give_as_many_gradients() -> None:
    layer = nn.Tanh()
    layer.register_full_backward_hook(lambda m, g_in, g_out: (None, None))
    with pytest.raises(GradError, match="register_full_backward_hook: the hook must return 1 gradients, or None; it"):
        layer(minidl.ones(2, requires_grad=True)).sum().backward()
