"""Products without numbers: an inner length of 0, no rows, or no columns."""

from __future__ import annotations

import math

import pytest

import minidl
from minidl.nn import Module, ReLU, Sequential
from minidl.nn import functional as F


@pytest.mark.parametrize("batch", [(), (5,), (2, 5), (0, 5)])
@pytest.mark.parametrize(("features", "outputs"), [(0, 0), (0, 4), (3, 0), (3, 4)])
@pytest.mark.parametrize("recorded", [False, True])
def test_gradients_have_the_shapes_of_the_inputs(batch, features, outputs, recorded) -> None:
    x = minidl.ones(*batch, features, requires_grad=True)
    weight = minidl.ones(outputs, features, requires_grad=True)
    for result in (x @ weight.T, F.linear(x, weight), Sequential(Product(weight), ReLU())(x)):
        assert (result.detach().array == features).all()
        gx, gw = minidl.autograd.grad(result.sum(), [x, weight], create_graph=recorded)
        assert (gx.shape, gw.shape) == (x.shape, weight.shape)
        assert (gw.array == math.prod(batch)).all()


class Product(Module):
    """`linear` with a weight that is given."""

    def __init__(self, weight) -> None:
        self.given = (weight,)

    def forward(self, input):
        return F.linear(input, *self.given)
