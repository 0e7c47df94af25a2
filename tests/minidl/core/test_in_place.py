"""In-place changes: gradients equal PyTorch's, versions count them, and a value needed later is not lost silently."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl.core import versions
from minidl.core.tensor import IN_PLACE_METHODS
from minidl.errors import DTypeError, GradError, ShapeError
from minidl.testing import check_gradient


def added_to(m, x, w):
    y = x * w
    y.add_(w * w)
    return y * y


def multiplied(m, x, w):
    y = x + w
    y.mul_(w)
    return y


def multiplied_by_itself(m, x, w):  # PyTorch refuses it
    y = x * w
    y.mul_(y)
    return y


def divided(m, x, w):
    y = x * 2
    y.div_(w)
    y.sub_(x)
    return y


def overwritten(m, x, w):
    y = x * w
    z = y * 3
    y.copy_(w.exp())
    return z + y * y


def zeroed_and_filled(m, x, w):
    y = x * w
    y.zero_()
    z = x * 3
    z.fill_(2.0)
    return y + w + z


def row_of_zeros(m, x, w):
    y = m.zeros(3, 4, dtype=m.float64)
    y[1] = w[0]
    y[2, 1:3] = x[0, :2]
    return y * y


def row_of_computed(m, x, w):
    y = x * w
    y[0] = w[1] * 2
    y[:, 1] = 5.0
    return y * x


def through_a_view(m, x, w):
    y = x * w
    y[0].mul_(w[1])
    return y * y


def through_a_chain_of_views(m, x, w):
    y = x * w
    y.permute(1, 0).reshape(4, 3)[1:3][:, 0].add_(w[0, :2])
    return y * y


def through_chained_indices(m, x, w):
    y = m.zeros(3, 4, dtype=m.float64)
    y[1][2] = w[0, 0] * x[1, 1]
    return y + x


def view_made_before(m, x, w):
    y = x * 2
    view = y[1]
    y.mul_(w)
    return view * view


def sibling_view(m, x, w):
    y = m.zeros(3, 4, dtype=m.float64)
    first, all_of_it = y[0], y.reshape(12)
    first.add_(w[0])
    return all_of_it * x.reshape(12)


def by_index_tensor(m, x, w):
    y = x * w
    y[m.tensor([2, 0])] = w[:2] * x[:2]
    return y * y


def by_mask(m, x, w):
    y = x * w
    y[y > 0] = 0.5
    return y * x


def by_operators(m, x, w):
    y = x * w
    y += w
    y *= 2.0
    y -= x
    y /= w
    return y * y


def operators_on_parts(m, x, w):
    y = x * w
    y[0] += w[1]
    y[:, 1:3] *= x[:, :2]
    y[m.tensor([2, 0])] -= w[:2]
    return y * y


def by_functions(m, x, w):
    y = x * w
    y[0].square_()
    y.sin_()
    y.masked_fill_(y > 0.4, 0.3)
    y **= 2
    y.clamp_(0.0, 0.5)
    return y * w


PROGRAMS = [
    added_to, multiplied, divided, overwritten, zeroed_and_filled, row_of_zeros, row_of_computed,
    through_a_view, through_a_chain_of_views, through_chained_indices, view_made_before, sibling_view, by_index_tensor,
    by_mask, by_operators, operators_on_parts, by_functions,
]  # fmt: skip
each_program = pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)


def numbers(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.5, 2.0, (3, 4)) * np.random.default_rng(seed + 1).choice(
        [-1, 1], (3, 4)
    )


@each_program
def test_values_and_gradients_equal_pytorch(program) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    results = []
    for m in (minidl, torch):
        x, w = (m.tensor(numbers(seed), requires_grad=True) for seed in (0, 7))
        y = program(m, x, w)
        y.sum().backward()
        grads = [np.zeros((3, 4)) if t.grad is None else t.grad.numpy() for t in (x, w)]
        results.append([y.detach().numpy(), *grads])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("program", [*PROGRAMS, multiplied_by_itself], ids=lambda p: p.__name__)
def test_two_derivatives_equal_differences(program) -> None:
    check_gradient(lambda x, w: program(minidl, x, w), minidl.tensor(numbers(0)), minidl.tensor(numbers(7)), order=2)


def test_a_place_named_twice_keeps_the_last_value_and_only_that_has_a_gradient() -> None:
    y = minidl.zeros(2)
    values = minidl.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y[minidl.tensor([0, 0, 1])] = values
    (y * y).sum().backward()
    assert y.tolist() == [2.0, 3.0]
    assert values.grad.tolist() == [0.0, 4.0, 6.0]


def test_setitem_ignores_leading_dimensions_of_length_one() -> None:
    y = minidl.zeros(2, 3)
    y[0] = minidl.ones(1, 1, 3)
    y[minidl.tensor([1])] = minidl.ones(1, 1, 1, 3) * 2
    assert y.tolist() == [[1.0] * 3, [2.0] * 3]


def test_operators_change_the_tensor_itself() -> None:
    """The training loop of every first lesson."""
    w = minidl.tensor([1.0, 2.0], requires_grad=True)
    same = w
    (w * w).sum().backward()
    with minidl.no_grad():
        w -= 0.25 * w.grad
    assert w is same
    assert w.tolist() == [0.5, 1.0]
    assert w.requires_grad
    with pytest.raises(GradError, match="sub_: a leaf that requires a gradient"):
        w -= 1


def test_whole_numbers_cannot_hold_fractions() -> None:
    n = minidl.tensor([1, 2])
    n += 1
    assert n.tolist() == [2, 3]
    with pytest.raises(DTypeError, match=r"a tensor of int64 cannot hold what float32 gives; convert it"):
        n *= 0.5
    with pytest.raises(ShapeError, match=r"a tensor of shape \(2,\) cannot take one of shape \(3, 2\)"):
        n += minidl.zeros(3, 2, dtype=minidl.int64)


SQUARE, VECTOR, WHOLE = numbers(3)[:, :3], numbers(4)[0], np.arange(12).reshape(3, 4)
BESIDE = """
    atan2 copysign divide eq floor_divide fmod ge greater greater_equal gt heaviside hypot ldexp le less
    less_equal logical_and logical_or logical_xor lt multiply ne nextafter not_equal pow remainder subtract
    true_divide xlogy
""".split()  # noqa: SIM905 - a table to read
ON_WHOLE = "bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor gcd lcm".split()  # noqa: SIM905
ARGUMENTS = {
    **{f"{name}_": (numbers(2) * 0.4 + 1,) for name in BESIDE}, **{f"{name}_": (WHOLE % 3,) for name in ON_WHOLE},
    "bitwise_not_": (), "clamp_": (0.6, 1.2), "clip_": (0.6, 1.2), "clamp_max_": (0.6,), "clamp_min_": (0.6,),
    "masked_fill_": (numbers(0) > 1, 7.0), "masked_scatter_": (numbers(0) > 1, numbers(5)), "cumprod_": (1,),
    "cumsum_": (0,), "index_add_": (0, np.array([2, 0]), numbers(3)[:2]), "logit_": (0.1,), "polygamma_": (1,),
    "index_copy_": (0, np.array([2, 0]), numbers(3)[:2]), "index_fill_": (1, np.array([1]), 2.0),
    "index_put_": ((np.array([2, 0]),), numbers(3)[:2]), "put_": (np.array([5, 0]), np.array([1.0, 2.0])),
    "scatter_": (0, np.array([[0, 1, 2, 0]]), numbers(3)[:1]), "lerp_": (numbers(2), 0.3), "renorm_": (2, 0, 0.5),
    "scatter_add_": (0, np.array([[0, 1, 2, 0]]), numbers(3)[:1]), "addcdiv_": (numbers(2), np.abs(numbers(3)) + 1),
    "scatter_reduce_": (0, np.array([[0, 1, 2, 0]]), numbers(3)[:1], "amax"),
    "index_reduce_": (0, np.array([2, 0, 2]), numbers(3), "prod"),
    "addcmul_": (numbers(2), numbers(3)), "addmm_": (SQUARE, numbers(2)), "addr_": (SQUARE[0], VECTOR),
    "addmv_": (numbers(2), VECTOR), "addbmm_": (SQUARE[None], numbers(2)[None]),
    "baddbmm_": (SQUARE[None], numbers(2)[None]),
}  # fmt: skip
LIKE = {"addmv_": VECTOR[:3], "baddbmm_": numbers(0)[None]}  # what x is like, where it is no matrix


def on_numbers(lib, name: str, value: np.ndarray):
    """The array that a form in place is tried on, and its arguments."""
    arguments = [lib.tensor(a) if isinstance(a, np.ndarray) else a for a in ARGUMENTS.get(name, ())]
    if name == "index_put_":
        arguments[0] = (lib.tensor(ARGUMENTS[name][0][0]),)
    return lib.tensor(value), arguments


def value_for(name: str) -> np.ndarray:
    if name.removesuffix("_") in (*ON_WHOLE, "bitwise_not"):
        return WHOLE + 1
    value = np.abs(LIKE.get(name, numbers(0)))
    if name in ("acos_", "asin_", "atanh_", "erfinv_", "logit_"):
        return value / (value.max() + 0.1)
    return value + (1 if name == "acosh_" else 0.1)


@pytest.mark.parametrize("name", IN_PLACE_METHODS)
def test_functions_in_place_give_what_the_others_give(name: str) -> None:
    x, arguments = on_numbers(minidl, name, value_for(name))
    expected = getattr(x.clone(), name[:-1])(*arguments)
    same = getattr(x, name)(*arguments)
    assert same is x
    assert x._version == 1
    assert x.tolist() == expected.to(x.dtype).tolist()


# PyTorch has no derivative of these forms, or lets the old gradient through.
NO_DERIVATIVE = {"acosh_", "asinh_", "atanh_", "floor_divide_", "heaviside_", "logical_and_", "logical_or_"}


@pytest.mark.filterwarnings("ignore:index_reduce.. is in beta")
@pytest.mark.parametrize("name", IN_PLACE_METHODS)
def test_values_and_gradients_of_functions_in_place_are_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    results = []
    for lib in (torch, minidl):
        x, arguments = on_numbers(lib, name, value_for(name))
        if x.is_floating_point() and name not in NO_DERIVATIVE:
            x.requires_grad_()
            y = x * 1
            getattr(y, name)(*arguments)
            (y * y).sum().backward()
            results.append([y, x.grad])
        else:
            results.append([getattr(x, name)(*arguments)])
    for wanted, given in zip(*results, strict=True):
        assert given.shape == tuple(wanted.shape)
        # PyTorch's derivative of digamma is good to 5e-10.
        np.testing.assert_allclose(given.detach().numpy(), wanted.detach().numpy(force=True), rtol=1e-9, atol=1e-12)


def test_functions_in_place_name_themselves() -> None:
    x = minidl.ones(2, requires_grad=True)
    with pytest.raises(GradError, match="exp_: a leaf that requires a gradient"):
        x.exp_()
    y = x.exp()
    y.sqrt_()
    with pytest.raises(GradError, match=r"exp still needs its result, .* but sqrt_ has changed it"):
        y.sum().backward()
    with pytest.raises(DTypeError, match="sqrt_: a tensor of int64 cannot hold what sqrt gives, float32"):
        minidl.tensor([4]).sqrt_()


# -- versions --------------------------------------------------------------------------------------------------------


def test_versions_count_the_changes_of_memory_and_views_share_them() -> None:
    x = minidl.zeros(4)
    view = x[1:]
    assert (x._version, view._version) == (0, 0)
    x.add_(1)
    view.mul_(2)
    x[0] = 3
    x.fill_(1).zero_().copy_(minidl.ones(4))
    assert (x._version, view._version, x.detach()._version) == (6, 6, 6)
    assert (x + 1)._version == 0


def test_optimisers_change_versions() -> None:
    w = minidl.ones(3, requires_grad=True)
    w.sum().backward()
    minidl.optim.SGD([w], lr=0.1).step()
    assert w._version == 1


def test_versions_of_dead_memory_are_forgotten() -> None:
    before = len(versions._changes)
    for _ in range(10):
        minidl.zeros(3).add_(1)
    assert len(versions._changes) == before


def test_a_change_of_what_a_step_saved_is_an_error_that_names_both() -> None:
    x, w = minidl.tensor([1.0, 2.0], requires_grad=True), minidl.tensor([3.0, 4.0])
    y = x * w
    w.add_(1)
    expected = (
        r"backward: mul still needs its input y, of shape \(2,\), as it was in the forward pass, but add_ has changed "
        r"it in place since \(it is at version 1\); change a clone\(\) of it, or use the op without the underscore"
    )
    with pytest.raises(GradError, match=expected):
        y.sum().backward()


def test_a_change_of_a_result_that_a_step_saved_is_an_error() -> None:
    x = minidl.tensor([1.0, 2.0], requires_grad=True)
    y = x.exp()
    y.mul_(2)
    with pytest.raises(GradError, match=r"exp still needs its result, .* but mul_ has changed it"):
        y.sum().backward()


@pytest.mark.parametrize(
    ("change", "op"),
    [
        (lambda w: w[:1].zero_(), "copy_"),
        (lambda w: w.__setitem__(0, 5.0), "copy_"),
        (lambda w: w.__setitem__(minidl.tensor([0]), 5.0), "index_put_"),
        (lambda w: w.data.sub_(1), "sub_"),
        (lambda w: minidl.optim.SGD([w], lr=0.1).step(), "step"),
    ],
    ids=["view", "setitem", "index", "data", "optimiser"],
)
def test_every_way_to_change_memory_is_noticed(change, op: str) -> None:
    w = minidl.tensor([3.0, 4.0], requires_grad=True)
    y = (w * minidl.tensor([1.0, 2.0], requires_grad=True)).sum()
    w.grad = minidl.ones(2)
    with minidl.no_grad():
        change(w)
    with pytest.raises(GradError, match=f"mul still needs .*{op}.* has changed"):
        y.backward()


def test_a_change_of_what_no_step_saved_is_allowed() -> None:
    x = minidl.tensor([1.0, 2.0], requires_grad=True)
    w = minidl.tensor([3.0, 4.0])
    y = (x + w) * 2
    z = y * w  # needs w for the gradient of y, but not y, as w has none
    y.add_(1)
    z.sum().backward()
    assert x.grad.tolist() == [6.0, 8.0]


def test_a_change_before_the_step_is_allowed() -> None:
    x, w = minidl.tensor([1.0, 2.0], requires_grad=True), minidl.tensor([3.0, 4.0])
    w.add_(1)
    (x * w).sum().backward()
    assert x.grad.tolist() == [4.0, 5.0]


@pytest.mark.parametrize("leaf_or_view", [lambda x: x, lambda x: x[0]])
def test_leaves_are_not_changed_on_the_tape(leaf_or_view) -> None:
    x = minidl.ones(2, 3, requires_grad=True)
    with pytest.raises(GradError, match=r"mul_: a (view of a )?leaf that requires a gradient, .* no_grad\(\)"):
        leaf_or_view(x).mul_(2)
    assert x.tolist() == [[1.0] * 3] * 2
    with minidl.no_grad():
        leaf_or_view(x).mul_(2)
    assert x[0].tolist() == [2.0] * 3


def test_what_expand_gives_is_not_changed_on_the_tape() -> None:
    y = minidl.ones(1, 3).expand(2, 3)
    with pytest.raises(GradError, match=r"what expand gives cannot be changed in place .* clone\(\)"):
        y.add_(minidl.ones(2, 3, requires_grad=True))


def test_a_retained_gradient_is_that_of_the_new_value() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    grads = []
    for m in (minidl, torch):
        x = m.tensor([1.0, 2.0], requires_grad=True)
        y = x * 1
        y.retain_grad()
        y.mul_(3)
        (y * y).sum().backward()
        grads.append(y.grad.tolist())
    assert grads[0] == grads[1] == [6.0, 12.0]


def test_a_view_made_a_leaf_does_not_hold_its_parent() -> None:
    parent = minidl.zeros(3)
    view = parent[:2].requires_grad_()
    assert view.is_leaf
    assert view._base is None


def test_views_know_their_base() -> None:
    x = minidl.zeros(2, 3)
    assert x._base is None
    assert x[0][1:]._base is x
    assert x.permute(1, 0).reshape(6)._base is None  # a copy


def test_a_value_that_was_overwritten_has_no_gradient() -> None:
    """Of values put at one place the last one stays: a difference quotient of the others is 0."""
    values = minidl.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = minidl.index_put(minidl.zeros(3), (minidl.tensor([1, 1, 2]),), values)
    assert y.tolist() == [0.0, 2.0, 3.0]
    y.sum().backward()
    assert values.grad.tolist() == [0.0, 1.0, 1.0]
