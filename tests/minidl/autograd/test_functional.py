"""Jacobians, Hessians and their products: against PyTorch, and each against the others."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import func
from minidl.autograd import forward_ad, functional
from minidl.errors import ArgumentError, GradError, ShapeError

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # of PyTorch, at first use


def numbers(*shape: int, seed: int = 0):
    return np.random.default_rng(seed).uniform(0.5, 2.0, shape)


def one_to_one(x):
    return (x * x).sum(1).exp() / x.prod(1)


def two_to_two(x, y):
    return (x @ y).tanh(), x.sum(0) * y[:, 0]


def energy(x):
    return (x**3).sum() + (x[0] * x[1]).sum() ** 2


def energy_of_two(x, y):
    return ((x @ y) ** 2).sum() * x[0, 0]


def flat(result) -> list[np.ndarray]:
    if isinstance(result, (tuple, list)):
        return [array for part in result for array in flat(part)]
    return [result.detach().numpy()]


def equal_in_pytorch(name: str, function, *arrays, several: bool, **options) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    found = []
    for m in (minidl, torch):
        tensors = [tuple(m.tensor(a) for a in group) for group in arrays]
        given = [group if several else group[0] for group in tensors]
        found.append(getattr(m.autograd.functional, name)(function, *given, **options))
    assert type(found[0]) is type(found[1]) or not isinstance(found[1], tuple)
    for ours, theirs in zip(flat(found[0]), flat(found[1]), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
def test_jacobians_equal_pytorchs(strategy: str) -> None:
    options = {"strategy": strategy, "vectorize": strategy == "forward-mode"}
    equal_in_pytorch("jacobian", one_to_one, [numbers(2, 3)], several=False, **options)
    equal_in_pytorch("jacobian", two_to_two, [numbers(2, 3), numbers(3, 2)], several=True, **options)


def test_hessians_equal_pytorchs() -> None:
    equal_in_pytorch("hessian", energy, [numbers(2, 3)], several=False)
    equal_in_pytorch("hessian", energy_of_two, [numbers(2, 3), numbers(3, 2)], several=True)


@pytest.mark.parametrize("name", ["vhp", "hvp"])
def test_products_with_the_hessian_equal_pytorchs(name: str) -> None:
    equal_in_pytorch(name, energy, [numbers(2, 3)], [numbers(2, 3, seed=1)], several=False)
    pairs = [numbers(2, 3), numbers(3, 2)], [numbers(2, 3, seed=1), numbers(3, 2, seed=2)]
    equal_in_pytorch(name, energy_of_two, *pairs, several=True)


def test_products_with_the_jacobian_equal_pytorchs() -> None:
    equal_in_pytorch("vjp", two_to_two, [numbers(2, 3), numbers(3, 2)], [numbers(2, 2), numbers(3)], several=True)
    equal_in_pytorch("jvp", two_to_two, [numbers(2, 3), numbers(3, 2)], [numbers(2, 3), numbers(3, 2)], several=True)


def test_jvp_and_vjp_are_adjoint() -> None:
    """<u, J v> = <uᵀ J, v>, in float64 to rounding."""
    net = minidl.nn.Sequential(minidl.nn.Linear(3, 4), minidl.nn.LayerNorm(4), minidl.nn.GELU(), minidl.nn.Linear(4, 2))
    net.double()
    x, v, u = (minidl.tensor(numbers(*shape, seed=i)) for i, shape in enumerate([(5, 3), (5, 3), (5, 2)]))
    value, forward = functional.jvp(net, x, v)
    same, backward = functional.vjp(net, x, u)
    assert value.tolist() == same.tolist()
    assert (u * forward).sum().item() == pytest.approx((backward * v).sum().item(), rel=1e-12)
    assert all(p.grad is None for p in net.parameters())


def test_results_are_differentiable_if_asked() -> None:
    """The sum of the diagonal of the Hessian of x^4 is 12 Σ x²; its gradient 24 x."""
    x = minidl.tensor(numbers(3), requires_grad=True)
    matrix = functional.hessian(lambda x: (x**4).sum(), x, create_graph=True)
    (matrix * minidl.eye(3, dtype=minidl.float64)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 24 * x.detach().numpy(), rtol=1e-12)
    assert not functional.hessian(lambda x: (x**4).sum(), x).requires_grad


def test_independent_outputs_count_as_zero_unless_strict() -> None:
    x = minidl.tensor(numbers(2))
    constant = minidl.tensor(numbers(3))
    assert functional.jacobian(lambda x: constant, x).tolist() == [[0.0, 0.0]] * 3
    assert functional.jvp(lambda x, y: x * 2, (x, x), (x, x))[1].tolist() == (2 * x).tolist()
    with pytest.raises(GradError, match="jacobian: an output does not depend on the inputs; strict=False"):
        functional.jacobian(lambda x: constant, x, strict=True)
    with pytest.raises(GradError, match="vjp: the outputs do not depend on input 1; strict=False"):
        functional.vjp(lambda x, y: x.sum(), (x, x), strict=True)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: functional.vjp(lambda x: x, x),
            ShapeError,
            "vjp: v may only be left out for outputs of one element",
        ),
        (lambda x: functional.jvp(lambda x: x, x, x[:1]), ShapeError, r"jvp: v must have the shapes of the inputs"),
        (lambda x: functional.hessian(lambda x: x, x), ShapeError, "hessian: func must give one number, it gave"),
        (lambda x: functional.jacobian(lambda x: 3, x), ArgumentError, "jacobian: func must give tensors, result 0"),
        (lambda x: functional.jacobian(lambda x: x, 3), ArgumentError, "jacobian: inputs must be tensors, number 0"),
        (lambda x: functional.jacobian(lambda x: x, x, strategy="up"), ArgumentError, "strategy must be .* got 'up'"),
        (lambda x: func.grad(lambda x: x)(x), ArgumentError, r"grad: func must give one number, it gave shape \(2,\)"),
        (lambda x: func.grad(lambda x: x, 1)(x), ArgumentError, "grad: argument 1 is not a tensor; argnums"),
    ],
)
def test_wrong_calls_are_named(call, error, message: str) -> None:
    with pytest.raises(error, match=message):
        call(minidl.tensor(numbers(2)))


# -- forward mode ----------------------------------------------------------------------------------------------------


def test_tangents_equal_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    found = []
    for m in (minidl, torch):
        ad = m.autograd.forward_ad
        x, y, tx, ty = (m.tensor(numbers(2, 3, seed=i)) for i in range(4))
        with ad.dual_level():
            a, b = ad.make_dual(x, tx), ad.make_dual(y, ty)
            product, alone = ad.unpack_dual((a * b).sin()), ad.unpack_dual(a.exp() * x)
            assert ad.unpack_dual(x * 2).tangent is None
            assert ad.unpack_dual(a).tangent.tolist() == tx.tolist()
        found.append([product.primal, product.tangent, alone.tangent])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-13)


def test_a_tangent_is_differentiable_if_its_value_is() -> None:
    x = minidl.tensor(np.array([1.0, 2.0]), requires_grad=True)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(forward_ad.make_dual(x, minidl.ones(2, dtype=minidl.float64)) ** 3).tangent
    tangent.sum().backward()
    assert x.grad.tolist() == [6.0, 12.0]


def test_wrong_uses_of_levels_are_named() -> None:
    x = minidl.ones(2)
    with pytest.raises(GradError, match=r"make_dual: needs a level; put it into `with minidl.autograd.forward_ad"):
        forward_ad.make_dual(x, x)
    with forward_ad.dual_level():
        with pytest.raises(GradError, match=r"tangent must be as tensor, \(2,\) float32, got \(3,\) float32"):
            forward_ad.make_dual(x, minidl.ones(3))
        with pytest.raises(GradError, match="levels cannot be nested"), forward_ad.dual_level():
            pass
        with minidl.no_grad(), pytest.raises(GradError, match="make_dual: steps must be recorded; leave the no_grad"):
            forward_ad.make_dual(x, x)


# -- func ------------------------------------------------------------------------------------------------------------


def test_functions_of_functions_equal_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    found = []
    for m, f in ((minidl, func), (torch, torch.func)):
        x, y = m.tensor(numbers(3)), m.tensor(numbers(3, seed=1))
        g, (value, aux) = f.grad_and_value(lambda x, y: ((x * y).sin().sum(), y), argnums=(0, 1), has_aux=True)(x, y)
        output, pull = f.vjp(lambda x, y: x * y.exp(), x, y)
        third = f.grad(f.grad(f.grad(lambda x: (x**5).sum())))(m.tensor(np.array(1.5)))
        along = f.jvp(lambda x, y: x * y.exp(), (x, y), (y, x))
        jacobians = [j(lambda x, y: x * y.exp() * x[0], argnums=(0, 1))(x, y) for j in (f.jacrev, f.jacfwd)]
        found.append(flat([g, value, aux, output, pull(y), third, along, jacobians, f.hessian(energy_1d)(x)]))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def energy_1d(x):
    return (x**3).sum() * x[0]
