"""Steps of the user's own."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import minidl
from minidl.autograd import Function, grad, once_differentiable
from minidl.errors import GradError
from minidl.testing import check_gradient


class Exp(Function):
    """Saves its result."""

    @staticmethod
    def forward(ctx, x):
        result = x.exp()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx, g):
        (result,) = ctx.saved_tensors
        return g * result


class ScaledProduct(Function):
    """Two tensors, a number between them, and two results."""

    @staticmethod
    def forward(ctx, x, scale, y):
        ctx.save_for_backward(x, y)
        ctx.scale = scale
        return x * y * scale, x + y

    @staticmethod
    def backward(ctx, g_product, g_sum):
        x, y = ctx.saved_tensors
        gx = g_product * y * ctx.scale + g_sum if ctx.needs_input_grad[0] else None
        gy = g_product * x * ctx.scale + g_sum if ctx.needs_input_grad[2] else None
        return gx, None, gy


class Outside(Function):
    """Works on arrays."""

    @staticmethod
    def forward(ctx, x):
        ctx.x = x.detach().numpy().copy()
        return minidl.from_numpy(np.sinh(ctx.x))

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        return minidl.from_numpy(g.detach().numpy() * np.cosh(ctx.x))


def numbers(*shape: int):
    return minidl.tensor(np.random.default_rng(0).uniform(-1, 1, shape))


def test_two_derivatives_equal_differences() -> None:
    check_gradient(lambda x: Exp.apply(x), numbers(3, 2), order=2)
    check_gradient(lambda x, y: ScaledProduct.apply(x, 3.0, y), numbers(3, 2), numbers(3, 2), order=2)


def test_three_derivatives_of_exp() -> None:
    x = minidl.tensor(np.array(0.5), requires_grad=True)
    y = Exp.apply(x)
    for _ in range(3):
        (y,) = grad(y, x, create_graph=True)
    assert y.item() == pytest.approx(np.exp(0.5), rel=1e-14)


def test_a_function_outside_of_the_tape_has_one_derivative() -> None:
    check_gradient(Outside.apply, numbers(4))
    x = numbers(4).requires_grad_()
    (first,) = grad(Outside.apply(x).sum(), x, create_graph=True)
    with pytest.raises(GradError, match=r"Outside.backward is marked once_differentiable, so its gradients cannot"):
        first.sum().backward()


def test_backward_is_told_which_gradients_are_needed() -> None:
    seen = []

    class Look(ScaledProduct):
        @staticmethod
        def backward(ctx, *grads):
            seen.append(ctx.needs_input_grad)
            return ScaledProduct.backward(ctx, *grads)

    x, y = numbers(3).requires_grad_(), numbers(3)
    Look.apply(x, 2.0, y)[0].sum().backward()
    assert seen == [(True, False, False)]
    np.testing.assert_allclose(x.grad.array, 2 * y.array)


def test_results_nobody_used_count_as_zeros_unless_switched_off() -> None:
    seen = []

    class Look(Function):
        @staticmethod
        def forward(ctx, x, materialize):
            ctx.set_materialize_grads(materialize)
            return x * 1, x * 2

        @staticmethod
        def backward(ctx, first, second):
            seen.append(None if second is None else second.tolist())
            return first, None

    for materialize in (True, False):
        Look.apply(numbers(2).requires_grad_(), materialize)[0].sum().backward()
    assert seen == [[0.0, 0.0], None]


def test_results_without_a_gradient() -> None:
    class Sorted(Function):
        @staticmethod
        def forward(ctx, x):
            order = minidl.from_numpy(x.detach().numpy().argsort())
            rounded = x.round()
            ctx.mark_non_differentiable(order, rounded)
            ctx.save_for_backward(order)
            return x[order], order, rounded

        @staticmethod
        def backward(ctx, g, g_order, g_rounded):
            (order,) = ctx.saved_tensors
            return minidl.zeros_like(g).scatter_add(0, order, g)

    x = numbers(4).requires_grad_()
    values, order, rounded = Sorted.apply(x)
    assert (values.requires_grad, order.requires_grad, rounded.requires_grad) == (True, False, False)
    (values * minidl.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert x.grad.tolist() == [1.0 + int(i) for i in x.detach().numpy().argsort().argsort()]


def test_inputs_changed_in_place() -> None:
    class Double(Function):
        @staticmethod
        def forward(ctx, x):
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 2

    x = numbers(3).requires_grad_()
    y = x * 1
    view = y[1:]
    assert Double.apply(y) is y
    (y.sum() + view.sum()).backward()
    assert x.grad.tolist() == [2.0, 4.0, 4.0]
    with pytest.raises(GradError, match="Double: a leaf that requires a gradient"):
        Double.apply(x)


def test_a_result_that_is_an_input_changed_in_place_and_saved_dies_without_the_garbage_collector() -> None:
    class ExpInPlace(Function):
        @staticmethod
        def forward(ctx, x):
            x.copy_(x.exp())
            ctx.mark_dirty(x)
            ctx.save_for_backward(x)
            return x

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0]

    def run(x):
        return ExpInPlace.apply(x * 1)

    check_gradient(run, numbers(3), order=2)
    gc.collect()
    gc.disable()
    try:
        y = run(numbers(3).requires_grad_())
        ref = weakref.ref(y.grad_fn)
        del y
        assert ref() is None
    finally:
        gc.enable()


def test_setup_context_apart_from_forward() -> None:
    class Power(Function):
        @staticmethod
        def forward(x, exponent):
            return x**exponent

        @staticmethod
        def setup_context(ctx, inputs, output):
            x, ctx.exponent = inputs
            ctx.save_for_backward(x)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * ctx.exponent * x ** (ctx.exponent - 1), None

    check_gradient(lambda x: Power.apply(x, 3), numbers(4), order=2)


def test_without_gradients_only_forward_runs() -> None:
    assert Exp.apply(numbers(2)).grad_fn is None
    with minidl.no_grad():
        assert Exp.apply(numbers(2).requires_grad_()).grad_fn is None


def test_the_step_has_the_name_of_the_class_and_dies_without_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        y = Exp.apply(numbers(2).requires_grad_())
        assert y.grad_fn.name() == "Exp"
        ref = weakref.ref(y.grad_fn)
        del y
        assert ref() is None
    finally:
        gc.enable()


def test_what_was_saved_is_watched_and_freed() -> None:
    x = numbers(3).requires_grad_()
    y = Exp.apply(x)
    y.detach().add_(1)
    with pytest.raises(GradError, match=r"Exp still needs a tensor given to save_for_backward, of shape .* add_"):
        y.sum().backward()
    z = Exp.apply(x).sum()
    z.backward()
    with pytest.raises(GradError, match="saved by Exp were freed"):
        z.backward()


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda g: (g, None, None), r"backward must return 2 gradients, .* it returned 1"),
        (lambda g: g.numpy(), r"backward must return tensors or None; for argument 0 of forward it returned a ndarray"),
        (lambda g: minidl.ones(5), r"argument 0 of forward has shape \(3,\), but backward returned .* \(5,\) for it"),
    ],
)
def test_what_backward_gets_wrong_is_named(returned, message: str) -> None:
    class Wrong(Function):
        @staticmethod
        def forward(ctx, x, *rest):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return returned(g)

    rest = (1,) if "returned 1" in message else ()
    if rest:
        Wrong.backward = staticmethod(lambda ctx, g: g)
    with pytest.raises(GradError, match=message):
        Wrong.apply(numbers(3).requires_grad_(), *rest).sum().backward()


def test_forward_must_give_tensors() -> None:
    class Number(Function):
        @staticmethod
        def forward(ctx, x):
            return 3.0

    with pytest.raises(GradError, match="Number: forward must return tensors, result 0 is a float"):
        Number.apply(numbers(3).requires_grad_())
