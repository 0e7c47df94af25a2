"""Moments and limits of each distribution; 200 000 draws leave a standard error of 0.2 % in a mean or a deviation."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import ArgumentError, ShapeError
from minidl.nn import init

SHAPE = (400, 500)


def draws(function, *args, shape=SHAPE, **kwargs) -> np.ndarray:
    tensor = minidl.empty(*shape)
    assert function(tensor, *args, **kwargs) is tensor
    return tensor.numpy()


def check_uniform(values: np.ndarray, bound: float) -> None:
    assert abs(values).max() <= bound
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.01)
    assert values.mean() == pytest.approx(0, abs=0.01 * bound)


def check_normal(values: np.ndarray, std: float) -> None:
    assert values.std() == pytest.approx(std, rel=0.01)
    assert (abs(values) > 2 * std).mean() == pytest.approx(0.0455, rel=0.05)


def test_uniform_fills_its_interval() -> None:
    check_uniform(draws(init.uniform_, 1.0, 3.0) - 2.0, 1.0)


def test_normal_has_its_mean_and_deviation() -> None:
    check_normal(draws(init.normal_, 5.0, 0.5) - 5.0, 0.5)


def test_constants_are_constant() -> None:
    assert (draws(init.constant_, 2.5) == 2.5).all()
    assert (draws(init.ones_) == 1).all()
    assert not draws(init.zeros_).any()
    np.testing.assert_array_equal(draws(init.eye_, shape=(2, 3)), np.eye(2, 3))


def test_xavier_goes_by_both_fans() -> None:
    check_uniform(draws(init.xavier_uniform_, 2.0), 2 * math.sqrt(6 / 900))
    check_normal(draws(init.xavier_normal_), math.sqrt(2 / 900))


@pytest.mark.parametrize(("mode", "fan"), [("fan_in", 50 * 9), ("fan_out", 400 * 9)])
def test_kaiming_goes_by_one_fan_and_counts_the_window(mode: str, fan: int) -> None:
    shape = (400, 50, 3, 3)
    check_uniform(draws(init.kaiming_uniform_, mode=mode, nonlinearity="relu", shape=shape), math.sqrt(6 / fan))
    check_normal(draws(init.kaiming_normal_, 1.0, mode=mode, shape=shape), math.sqrt(1 / fan))


@pytest.mark.parametrize(("a", "b"), [(-2.0, 2.0), (-0.1, 0.2), (3.0, 4.0), (-1.0, 9.0)])
def test_trunc_normal_has_the_moments_of_the_truncated_distribution(a: float, b: float) -> None:
    """Mean (phi(a) - phi(b)) / Z, from integration by parts."""
    values = draws(init.trunc_normal_, 0.0, 1.0, a, b)
    assert a <= values.min()
    assert values.max() <= b
    mass = 0.5 * (math.erf(b / math.sqrt(2)) - math.erf(a / math.sqrt(2)))
    mean = (math.exp(-a * a / 2) - math.exp(-b * b / 2)) / math.sqrt(2 * math.pi) / mass
    assert values.mean() == pytest.approx(mean, abs=0.01)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (4, 3, 2, 2)])
def test_orthogonal_rows_or_columns_are_orthonormal(shape: tuple[int, ...]) -> None:
    m = draws(init.orthogonal_, 2.0, shape=shape).reshape(shape[0], -1).astype(np.float64)
    small = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-5)  # float32 weights


def test_gains_are_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    for name in ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]:
        assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-15)
    assert init.calculate_gain("leaky_relu", 0.3) == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", 0.3))


def test_layers_start_from_pytorchs_distributions() -> None:
    linear = nn.Linear(500, 400)
    check_uniform(linear.weight.detach().numpy(), 1 / math.sqrt(500))
    assert abs(linear.bias.detach().numpy()).max() <= 1 / math.sqrt(500)
    check_uniform(nn.Conv2d(64, 128, 5).weight.detach().numpy(), 1 / math.sqrt(64 * 25))
    check_uniform(nn.ConvTranspose2d(64, 128, 5).weight.detach().numpy(), 1 / math.sqrt(128 * 25))
    norm = nn.BatchNorm2d(3).state_dict()
    assert [norm[k].tolist() for k in ("weight", "bias", "running_mean", "running_var")] == [
        [1] * 3,
        [0] * 3,
        [0] * 3,
        [1] * 3,
    ]


def test_the_seed_decides_the_weights() -> None:
    minidl.manual_seed(3)
    one = nn.Linear(4, 4).weight.detach().numpy()
    minidl.manual_seed(3)
    np.testing.assert_array_equal(nn.Linear(4, 4).weight.detach().numpy(), one)
    generator = minidl.Generator(5)
    assert not np.array_equal(draws(init.normal_, generator=generator), draws(init.normal_, generator=generator))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: init.xavier_uniform_(minidl.zeros(3)), ShapeError, "at least two dimensions"),
        (lambda: init.orthogonal_(minidl.zeros(3)), ShapeError, "at least two dimensions"),
        (lambda: init.eye_(minidl.zeros(3)), ShapeError, "needs a matrix"),
        (lambda: init.kaiming_normal_(minidl.zeros(3, 3), mode="fan"), ArgumentError, "'fan_in' or 'fan_out'"),
        (lambda: init.calculate_gain("mish"), ArgumentError, "no gain for 'mish'"),
        (lambda: init.trunc_normal_(minidl.zeros(3), a=1, b=0), ArgumentError, "needs a < b"),
    ],
)
def test_bad_arguments_are_named(call, error, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(("shape", "groups"), [((4, 4, 3), 1), ((6, 2, 3, 4), 3), ((2, 5, 1, 3, 2), 1)])
def test_dirac_is_pytorchs(shape: tuple[int, ...], groups: int) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    given, wanted = nn.init.dirac_(minidl.ones(*shape), groups), torch.nn.init.dirac_(torch.ones(shape), groups)
    np.testing.assert_array_equal(given.numpy(), wanted.numpy())


def test_sparse_weights_have_their_share_of_zeros_in_each_column() -> None:
    weight = nn.init.sparse_(minidl.ones(50, 40), 0.3, std=2.0).numpy()
    assert ((weight == 0).sum(0) == 15).all()
    assert weight[weight != 0].std() == pytest.approx(2.0, rel=0.1)  # 1400 draws: a standard error of 0.04


def test_weights_that_cannot_be_filled_so_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"dirac_: needs a weight .* got shape \(2, 2\)"):
        nn.init.dirac_(minidl.ones(2, 2))
    with pytest.raises(ShapeError, match=r"sparse_: needs a matrix and a sparsity from 0 to 1, got \(2, 2\) and 3"):
        nn.init.sparse_(minidl.ones(2, 2), 3)
