from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import ArgumentError, ShapeError


def test_the_share_is_dropped_and_the_mean_kept() -> None:
    """100 000 draws: standard error of the share 0.0015."""
    y = nn.Dropout(0.3)(minidl.ones(100_000)).numpy()
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.01)
    np.testing.assert_allclose(y[y != 0], 1 / 0.7, rtol=1e-6)


def test_the_gradient_has_the_same_holes() -> None:
    x = minidl.ones(1000).requires_grad_()
    y = nn.Dropout(0.5)(x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())


def test_every_call_drops_others_and_the_seed_repeats_them() -> None:
    layer, x = nn.Dropout(0.5), minidl.ones(100)
    minidl.manual_seed(1)
    first, second = layer(x).numpy(), layer(x).numpy()
    assert not np.array_equal(first, second)
    minidl.manual_seed(1)
    np.testing.assert_array_equal(layer(x).numpy(), first)


def test_channels_are_dropped_as_a_whole() -> None:
    y = nn.Dropout2d(0.5)(minidl.ones(20, 10, 4, 4)).numpy()
    assert set(np.unique(y.mean((2, 3)))) == {0.0, 2.0}


@pytest.mark.parametrize("layer", [nn.Dropout, nn.Dropout2d])
def test_eval_and_the_ends_of_the_range(layer) -> None:
    x = minidl.ones(2, 3, 4, 4)
    assert layer(0.5).eval()(x) is x
    assert layer(0.0)(x) is x
    assert not layer(1.0)(x).numpy().any()


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ArgumentError, match=r"Dropout: p must be from 0 to 1, got 1\.5"):
        nn.Dropout(1.5)
    with pytest.raises(ShapeError, match="dropout2d: input must be"):
        nn.Dropout2d()(minidl.ones(2, 3))
