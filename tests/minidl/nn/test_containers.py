from __future__ import annotations

from collections import OrderedDict

import pytest

import minidl
from minidl import nn
from minidl.errors import ArgumentError
from minidl.nn import functional as F


def layers(n: int = 3) -> list[nn.Linear]:
    return [nn.Linear(2, 2) for _ in range(n)]


def test_sequential_runs_its_parts_in_order() -> None:
    net = nn.Sequential(nn.ReLU(), nn.Hardtanh(0.0, 0.5))
    assert net(minidl.tensor([-1.0, 1.0])).tolist() == [0.0, 0.5]
    assert nn.Sequential()(minidl.tensor([3.0])).tolist() == [3.0]


def test_sequential_takes_names() -> None:
    net = nn.Sequential(OrderedDict([("conv", nn.Linear(2, 2)), ("act", nn.ReLU())]))
    assert list(net.state_dict()) == ["conv.weight", "conv.bias"]
    assert net.act is net[1]
    assert list(net[:1].state_dict()) == ["conv.weight", "conv.bias"]


@pytest.mark.parametrize("kind", [lambda m: nn.Sequential(*m), nn.ModuleList])
def test_parts_are_reached_changed_and_counted_by_position(kind) -> None:
    a, b, c = layers()
    net = kind([a, b, c])
    assert len(net) == 3
    assert net[-1] is c
    assert list(net[::2]) == [a, c]
    assert isinstance(net[:2], type(net))
    assert list(net + net[:1]) == [a, b, c, a]
    net[1] = nn.ReLU()
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    del net[1]
    assert list(net) == [a, c]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    net.insert(1, b).append(nn.ReLU()).extend([nn.Tanh()])
    assert [type(m).__name__ for m in net] == ["Linear", "Linear", "Linear", "ReLU", "Tanh"]
    assert net[1] is b
    assert isinstance(net.pop(), nn.Tanh)
    with pytest.raises(IndexError, match="index 9 is out of range; it holds 4 modules"):
        net[9]


def test_a_list_has_no_forward() -> None:
    with pytest.raises(NotImplementedError, match="ModuleList has no forward"):
        nn.ModuleList([nn.ReLU()])(1)


def test_a_dict_holds_modules_by_name() -> None:
    a, b = layers(2)
    net = nn.ModuleDict({"a": a, "b": b})
    assert list(net) == ["a", "b"] == list(net.keys())
    assert net.items() == [("a", a), ("b", b)]
    assert "a" in net
    assert len(net) == 2
    net["c"] = nn.ReLU()
    assert net.pop("a") is a
    assert net.values()[0] is b
    with pytest.raises(KeyError, match="no module 'a'; it holds b, c"):
        net["a"]
    del net["b"]
    net.clear()
    assert len(net) == 0


def test_a_name_that_is_a_method_is_refused() -> None:
    with pytest.raises(ArgumentError, match="'keys' is the name of a method"):
        nn.ModuleDict({"keys": nn.ReLU()})


def test_a_parameter_list_makes_weights_of_tensors() -> None:
    weights = nn.ParameterList([minidl.zeros(2), nn.Parameter([1.0])])
    weights.append(minidl.ones(3))
    weights[0] = minidl.ones(2)
    assert [p.shape for p in weights] == [(2,), (1,), (3,)]
    assert [name for name, _ in weights.named_parameters()] == ["0", "1", "2"]
    assert weights[-1].requires_grad
    with pytest.raises(IndexError, match="holds 3 parameters"):
        weights[3]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((nn.ReLU,), r"ReLU is a class; make a layer of it: ReLU\(...\)"),
        (([nn.ReLU()],), "put a star before it"),
        ((F.relu,), "relu is a function; use a layer"),
        ((3,), "holds modules, got int"),
    ],
)
def test_what_is_no_module_is_named_with_the_way_out(parts, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        nn.Sequential(*parts)


def test_weights_by_name_are_trained_and_saved() -> None:
    weights = nn.ParameterDict({"left": minidl.zeros(2), "right": nn.Parameter([1.0])})
    weights["middle"] = minidl.ones(3)
    assert list(weights.state_dict()) == list(weights) == ["left", "right", "middle"]
    assert all(isinstance(p, nn.Parameter) for p in weights.values())
    assert "left" in weights
    assert "up" not in weights
    assert weights.pop("left").shape == (2,)
    assert [key for key, _ in weights.items()] == ["right", "middle"]
    assert "(right): Parameter of float32 and shape (1,)" in repr(weights)
    with pytest.raises(KeyError, match="there is no parameter 'left'; it holds right, middle"):
        weights["left"]
    weights.clear()
    assert len(weights) == 0
