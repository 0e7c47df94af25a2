from __future__ import annotations

import pytest

from minidl import nn
from minidl.errors import ArgumentError


class Holder(nn.Module):
    def __init__(self, layers) -> None:
        self.layers = layers


@pytest.mark.parametrize(("layers", "way_out"), [([nn.ReLU()], "nn.ModuleList"), ({"a": nn.ReLU()}, "nn.ModuleDict")])
@pytest.mark.parametrize("ask", [lambda net: list(net.parameters()), lambda net: net.state_dict()])
def test_layers_in_a_plain_container_are_found_out(layers, way_out: str, ask) -> None:
    with pytest.raises(ArgumentError, match=rf"Holder.layers is a plain .* holds a ReLU.*{way_out}"):
        ask(nn.Sequential(Holder(layers)))


def test_a_tuple_holds_modules_on_purpose() -> None:
    assert Holder((nn.Linear(2, 2),)).state_dict() == {}


def test_a_list_of_parts_that_are_registered_elsewhere_is_fine() -> None:
    layer = nn.Linear(2, 2)
    net = Holder([layer])
    net.layer = layer
    assert list(net.state_dict()) == ["layer.weight", "layer.bias"]
