from __future__ import annotations

import copy

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import ArgumentError, DeviceError, DTypeError
from minidl.nn import functional as F


class Net(nn.Module):
    """No super().__init__(): there is nothing to set up."""

    def __init__(self) -> None:
        self.first = nn.Linear(3, 4)
        self.last = nn.Linear(4, 2)
        self.factor = nn.Parameter([2.0])

    def forward(self, input: minidl.Tensor) -> minidl.Tensor:
        return self.last(F.relu(self.first(input))) * self.factor


def names(net: nn.Module) -> list[str]:
    return [name for name, _ in net.named_parameters()]


def test_assignment_registers_own_weights_before_those_of_parts() -> None:
    assert names(Net()) == ["factor", "first.weight", "first.bias", "last.weight", "last.bias"]


def test_super_init_may_be_called() -> None:
    class Called(Net):
        def __init__(self) -> None:
            nn.Module.__init__(self)
            super().__init__()

    assert names(Called()) == names(Net())


def test_a_plain_tensor_is_not_state() -> None:
    net = Net()
    net.constant = minidl.ones(2)
    assert "constant" not in net.state_dict()


def test_weights_buffers_and_parts_are_found_and_put_by_name() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)))
    assert net.get_parameter("1.0.weight") is net[1][0].weight
    assert net.get_buffer("1.1.running_mean") is net[1][1].running_mean
    net.set_submodule("1.1", nn.Identity())
    net[1].set_submodule("2", nn.ReLU())
    assert [type(part).__name__ for part in net[1]] == ["Conv2d", "Identity", "ReLU"]
    net.set_submodule("1.2", nn.Tanh(), strict=True)
    assert type(net[1][2]) is nn.Tanh
    net.register_module("3", nn.ReLU())
    assert list(dict(net.named_children())) == ["0", "1", "3"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda net: net.get_parameter("first.running_mean"), AttributeError,
         "get_parameter: there is no weight 'running_mean'; there is weight, bias"),
        (lambda net: net.get_parameter("second.weight"), AttributeError,
         "get_submodule: Net has no part 'second'; it has first, last"),
        (lambda net: net.get_buffer("factor"), AttributeError,
         "get_buffer: there is no buffer 'factor'; there is none"),
        (lambda net: net.set_submodule("other", nn.ReLU(), strict=True), AttributeError,
         "get_submodule: Net has no part 'other'; it has first, last"),
        (lambda net: net.set_submodule("", nn.ReLU()), ArgumentError, "a name must not be empty"),
        (lambda net: net.set_submodule("first", 3), TypeError, "add_module: first must be a Module or None, got int"),
    ],
)  # fmt: skip
def test_names_that_are_not_there_are_named(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call(Net())


def test_removing_a_weight_removes_it_from_the_lists() -> None:
    net = Net()
    del net.factor
    net.last.bias = None
    assert names(net) == ["first.weight", "first.bias", "last.weight"]


def test_a_shared_weight_is_listed_once_and_saved_under_both_names() -> None:
    net = Net()
    net.twin = net.first
    assert len(list(net.parameters())) == 5
    assert "twin.weight" in net.state_dict()
    assert len(list(net.modules())) == 3
    assert len(list(net.children())) == 2


def test_a_weight_cannot_be_replaced_by_a_plain_tensor() -> None:
    with pytest.raises(TypeError, match=r"Linear.weight is a Parameter and would no longer be trained"):
        Net().first.weight = minidl.zeros(4, 3)


def test_training_reaches_every_part_and_eval_takes_it_back() -> None:
    net = Net()
    assert net.training
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    assert all(m.training for m in net.train().modules())


def test_freezing_stops_gradients() -> None:
    net = Net()
    net.first.requires_grad_(False)
    net(minidl.ones(1, 3)).sum().backward()
    assert net.first.weight.grad is None
    assert net.last.weight.grad is not None


@pytest.mark.parametrize("to_none", [True, False])
def test_zero_grad_forgets_or_zeroes(to_none: bool) -> None:
    net = Net()
    net(minidl.ones(1, 3)).sum().backward()
    net.zero_grad(set_to_none=to_none)
    grads = [p.grad for p in net.parameters()]
    assert all(g is None if to_none else not g.any() for g in grads)


def test_apply_visits_parts_first() -> None:
    seen: list[str] = []
    Net().apply(lambda module: seen.append(type(module).__name__))
    assert seen == ["Linear", "Linear", "Net"]


def test_conversion_keeps_the_parameters_and_leaves_counters_alone() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = list(net.parameters())
    net(minidl.randn(4, 2)).sum().backward()
    net.double()
    assert all(a is b for a, b in zip(before, net.parameters(), strict=True))
    assert all(p.dtype == p.grad.dtype == np.float64 for p in net.parameters())
    assert net[1].running_mean.dtype == np.float64
    assert net[1].num_batches_tracked.dtype == np.int64
    assert net.to(minidl.zeros(1))[0].weight.dtype == np.float32
    assert net.to(dtype=minidl.float16, device="cpu")[0].weight.dtype == np.float16


def test_conversion_to_integers_is_refused() -> None:
    with pytest.raises(ArgumentError, match="weights can only be floating, got int64"):
        Net().to(minidl.int64)


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(DeviceError, match="no device 'tpu'"):
        nn.Linear(2, 2, device="tpu")


def test_a_module_without_forward_says_so() -> None:
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Empty has no forward"):
        Empty()(1)


def test_an_array_in_place_of_a_tensor_is_named() -> None:
    with pytest.raises(DTypeError, match=r"Linear: argument 0 is a numpy array.* minidl\.from_numpy\(x\)"):
        nn.Sequential(Net())(np.zeros((1, 3), np.float32))
    with pytest.raises(DTypeError, match="CrossEntropyLoss: argument 1 is a numpy array"):
        nn.CrossEntropyLoss()(minidl.zeros(2, 3), np.array([0, 1]))


def test_an_error_of_the_users_own_is_left_alone() -> None:
    class Typo(nn.Module):
        def forward(self, input: minidl.Tensor) -> minidl.Tensor:
            return input.nothing  # type: ignore[return-value]

    with pytest.raises(AttributeError, match="nothing"):
        Typo()(minidl.zeros(1))


def test_parts_are_found_by_name() -> None:
    net = nn.Sequential(Net())
    assert net.get_submodule("0.first") is net[0].first
    assert net.get_submodule("") is net
    with pytest.raises(AttributeError, match="Net has no part 'middle'; it has first, last"):
        net.get_submodule("0.middle")


@pytest.mark.parametrize("name", ["", "a.b", "forward", "training"])
def test_names_that_would_break_the_module_are_refused(name: str) -> None:
    with pytest.raises(ArgumentError):
        Net().register_buffer(name, minidl.zeros(1))


@pytest.mark.parametrize("method", ["register_parameter", "register_buffer", "add_module"])
def test_registering_the_wrong_kind_is_refused(method: str) -> None:
    with pytest.raises(TypeError, match=r"x must be a .* or None, got int"):
        getattr(Net(), method)("x", 3)
    getattr(Net(), method)("x", None)


def test_a_buffer_that_is_assigned_again_stays_a_buffer() -> None:
    net = Net()
    net.register_buffer("mean", minidl.zeros(2))
    net.mean = minidl.ones(2)
    assert net.state_dict()["mean"].tolist() == [1, 1]
    net.mean = None
    assert "mean" not in net.state_dict()


def test_a_copy_is_independent() -> None:
    net = Net()
    twin = copy.deepcopy(net)
    with minidl.no_grad():
        twin.factor.fill_(0.0)
    assert net.factor.item() == 2.0
    assert names(twin) == names(net)
    assert isinstance(twin.factor, nn.Parameter)


def test_a_parameter_shows_what_it_is() -> None:
    assert repr(nn.Parameter([1.0])) == "Parameter containing:\ntensor([1.], requires_grad=True)"
    assert nn.Parameter().shape == (0,)
    assert not nn.Parameter([1.0], requires_grad=False).requires_grad
