"""Draws: their distributions by SciPy's tests, seeds, what is refused, and that changes in place are noticed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import minidl
from minidl import Generator, Tensor
from minidl.errors import GradError

N = 20_000
CONTINUOUS = {
    "uniform_": ((-1, 3), stats.uniform(-1, 4)), "normal_": ((2, 3), stats.norm(2, 3)),
    "exponential_": ((2.5,), stats.expon(scale=1 / 2.5)), "cauchy_": ((1, 2), stats.cauchy(1, 2)),
    "log_normal_": ((0.5, 0.3), stats.lognorm(0.3, scale=np.exp(0.5))),
}  # fmt: skip
DISCRETE = {
    "bernoulli_": ((0.3,), stats.bernoulli(0.3)), "geometric_": ((0.25,), stats.geom(0.25)),
    "random_": ((3, 9), stats.randint(3, 9)),
}  # fmt: skip


def seeded() -> Generator:
    return Generator(11)


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tensors_are_filled_from_the_distribution(name: str, dtype) -> None:
    """Kolmogorov and Smirnov's test, at the 0.1 % level, on a fixed seed."""
    options, law = CONTINUOUS[name]
    x = minidl.zeros(N, dtype=np.dtype(dtype))
    assert getattr(x, name)(*options, generator=seeded()) is x
    assert stats.kstest(x.numpy().astype(float), law.cdf).pvalue > 1e-3
    assert (
        getattr(minidl, name)(minidl.zeros(N, dtype=np.dtype(dtype)), *options, generator=seeded()).array == x.array
    ).all()


def fits(numbers: np.ndarray, law) -> bool:
    """The chi-square test at the 0.1 % level; what is rarer than 1 % is one class."""
    values = np.arange(numbers.min(), numbers.max() + 1)
    chances, counts = law.pmf(values), np.array([(numbers == v).sum() for v in values])
    common = chances > 0.01
    wanted = np.append(chances[common], max(1 - chances[common].sum(), 0)) * len(numbers)
    found = np.append(counts[common], counts[~common].sum())
    keep = wanted > 1
    return stats.chisquare(found[keep], wanted[keep] * found[keep].sum() / wanted[keep].sum()).pvalue > 1e-3


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_tensors_are_filled_with_whole_numbers(name: str, dtype) -> None:
    options, law = DISCRETE[name]
    assert fits(getattr(minidl.zeros(N, dtype=np.dtype(dtype)), name)(*options, generator=seeded()).numpy(), law)


def test_bernoulli_and_poisson_take_a_chance_and_a_mean_for_each_place() -> None:
    chances = minidl.tensor([[0.0, 0.2, 1.0]]).expand(N, 3)
    np.testing.assert_allclose(minidl.bernoulli(chances, generator=seeded()).numpy().mean(0), [0, 0.2, 1], atol=0.01)
    drawn = minidl.bernoulli(minidl.zeros(N), 0.3, generator=seeded())
    assert fits(drawn.numpy(), stats.bernoulli(0.3))
    filled = minidl.zeros(N, 3).bernoulli_(minidl.tensor([0.0, 0.2, 1.0]), generator=seeded())
    np.testing.assert_allclose(filled.numpy().mean(0), [0, 0.2, 1], atol=0.01)
    means = minidl.tensor([[0.0, 0.7, 40.0]]).expand(N, 3)
    counts = minidl.poisson(means, seeded())
    assert counts.dtype == np.float32
    assert not counts[:, 0].any()
    assert all(fits(counts[:, i].numpy(), stats.poisson(mean)) for i, mean in ((1, 0.7), (2, 40.0)))


def test_normal_takes_tensors_and_numbers() -> None:
    mean, std = minidl.tensor([[1.0], [-2.0]]).expand(2, N), minidl.full((N,), 0.5)
    drawn = minidl.normal(mean, std, generator=seeded())
    assert (drawn.shape, drawn.dtype) == ((2, N), np.float32)
    assert all(
        stats.kstest(row, stats.norm(m, 0.5).cdf).pvalue > 1e-3 for row, m in zip(drawn.numpy(), (1, -2), strict=True)
    )
    assert minidl.normal(3.0, minidl.zeros(2)).tolist() == [3.0, 3.0]
    plain = minidl.normal(1.0, 2.0, (N,), generator=seeded(), dtype=minidl.float64, requires_grad=True)
    assert (plain.dtype, plain.requires_grad) == (np.float64, True)
    assert stats.kstest(plain.detach().numpy(), stats.norm(1, 2).cdf).pvalue > 1e-3


def test_multinomial_draws_with_the_weights() -> None:
    weights = minidl.tensor([[1.0, 0.0, 3.0, 4.0], [0.0, 2.0, 2.0, 0.0]])
    drawn = minidl.multinomial(weights, N, replacement=True, generator=seeded())
    assert (drawn.shape, drawn.dtype) == ((2, N), np.int64)
    for row, chances in zip(drawn.numpy(), ([1 / 8, 0, 3 / 8, 1 / 2], [0, 1 / 2, 1 / 2, 0]), strict=True):
        counts, used = np.bincount(row, minlength=4), np.array(chances) > 0
        assert not counts[~used].any()
        assert stats.chisquare(counts[used], np.array(chances)[used] * N).pvalue > 1e-3


def test_multinomial_without_replacement_draws_in_turn() -> None:
    """The first by the weights, the second by those of the rest; no class twice, none without a weight."""
    weights = np.array([1.0, 0.0, 3.0, 4.0])
    drawn = minidl.multinomial(minidl.tensor(weights).expand(N, 4), 3, generator=seeded()).numpy()
    assert (np.sort(drawn, 1) == [0, 2, 3]).all()
    for first in (0, 2, 3):
        rest = np.where(np.arange(4) == first, 0, weights)
        seconds = np.bincount(drawn[drawn[:, 0] == first, 1], minlength=4)
        assert stats.chisquare(seconds[rest > 0], (rest / rest.sum())[rest > 0] * seconds.sum()).pvalue > 1e-3
    firsts = np.bincount(drawn[:, 0], minlength=4)
    assert stats.chisquare(firsts[weights > 0], weights[weights > 0] / 8 * N).pvalue > 1e-3


def test_likes_have_shape_type_and_range() -> None:
    x = minidl.zeros(40, 50, dtype=minidl.float64)
    for drawn in (minidl.rand_like(x), minidl.randn_like(x), minidl.randint_like(x, 2, 5), minidl.randint_like(x, 3)):
        assert (drawn.shape, drawn.dtype) == (x.shape, x.dtype)
    assert set(minidl.randint_like(x, 2, 5).unique().tolist()) == {2, 3, 4}
    assert minidl.rand_like(x, dtype=minidl.float32, requires_grad=True).requires_grad
    assert 0 <= minidl.rand_like(x).min().item() <= minidl.rand_like(x).max().item() < 1


@pytest.mark.parametrize(
    ("dtype", "largest"), [(np.float32, 2**24), (np.float64, 2**53), (np.int8, 126), (np.bool_, 1)]
)
def test_random_without_limits_keeps_to_what_the_type_holds(dtype, largest: int) -> None:
    numbers = minidl.zeros(N, dtype=np.dtype(dtype)).random_(generator=seeded()).numpy().astype(float)
    assert numbers.min() >= 0
    assert 0.98 * largest < numbers.max() <= largest


def test_the_default_generator_draws_and_a_seed_repeats() -> None:
    x = minidl.zeros(5)
    found = []
    for _ in range(2):
        minidl.manual_seed(4)
        found.append(x.normal_().tolist() + minidl.multinomial(minidl.ones(9), 3).tolist())
    assert found[0] == found[1]
    assert x.normal_().tolist() != found[0][:5]


def test_filling_counts_as_a_change_and_cuts_the_gradient() -> None:
    w = Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(GradError, match="normal_: a leaf that requires a gradient"):
        w.normal_()
    y = w * 2
    z = y * y
    y.uniform_()
    assert y._version == 1
    with pytest.raises(GradError, match="but uniform_ has changed it"):
        z.sum().backward()
    y = w * 2
    y.exponential_()
    y.sum().backward()
    assert w.grad.tolist() == [0.0, 0.0]
