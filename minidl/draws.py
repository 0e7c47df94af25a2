"""Draws from distributions: tensors like others, draws with given probabilities, and tensors filled in place.

Numbers come from a Generator, the default one unless another is given, on the CPU in float64, and are rounded once to
the type of the tensor; so every device and every type draws alike. No gradient passes through a draw.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.core import Tensor, registry
from minidl.device import Device
from minidl.device.dtypes import DEFAULT_FLOAT, DEFAULT_INT, DType, is_floating
from minidl.element_types import finfo
from minidl.errors import ArgumentError, DTypeError, ShapeError
from minidl.ops.in_place import overwriting
from minidl.random import Generator, default_generator, rand, randint, randn

__all__ = [
    "bernoulli", "bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "multinomial", "normal",
    "normal_", "poisson", "rand_like", "randint_like", "randn_like", "random_", "uniform_",
]  # fmt: skip

Numbers = np.ndarray[Any, Any]


def rand_like(input: Tensor, *, dtype: DType | None = None, device: Device | str | None = None,
              requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Numbers evenly spread over [0, 1), of the shape of `input`, and of its type and place unless others are given."""
    return rand(*input.shape, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)


def randn_like(input: Tensor, *, dtype: DType | None = None, device: Device | str | None = None,
               requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Numbers from the standard normal distribution, like `input` as in `rand_like`."""
    return randn(*input.shape, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)


def randint_like(input: Tensor, low: int, high: int | None = None, *, dtype: DType | None = None,
                 device: Device | str | None = None, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Whole numbers from `low` up to, not including, `high` (from 0 to `low` without it), like `input`."""
    return randint(low, high, input.shape, dtype=dtype or input.dtype, device=device or input.device,
                   requires_grad=requires_grad)  # fmt: skip


def bernoulli(input: Tensor, p: float | None = None, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that `input` has at each place, or with probability `p` everywhere, and 0 otherwise.

    Raises:
        ArgumentError: if a probability is not from 0 to 1.

    >>> bernoulli(Tensor([0.0, 1.0, 1.0]))
    tensor([0., 1., 1.])
    """
    chances = _on_cpu(input) if p is None else np.asarray(p, np.float64)
    _check_chances("bernoulli", chances)
    return _like(input, _drawn(generator).random(input.shape) < chances)


def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Numbers of classes, drawn with the weights that `input` has.

    Args:
        input: (C,) or (N, C), floating, 0 or more; a row need not sum to 1.
        num_samples: how many are drawn from each row.
        replacement: whether a class may be drawn again; otherwise the first is drawn first, and so on.

    Returns:
        (num_samples,) or (N, num_samples), int64.

    Raises:
        ShapeError: if `input` has no such shape.
        DTypeError: if it is not floating.
        ArgumentError: if a weight is negative, infinite or NaN, or a row has too few classes with a weight.

    >>> multinomial(Tensor([0.0, 2.0, 0.0]), 2, replacement=True)
    tensor([1, 1])
    """
    if input.ndim not in (1, 2) or not input.shape[-1]:
        raise ShapeError(f"multinomial: input must be (C,) or (N, C) with classes, got {input.shape}")
    if not is_floating(input.dtype):
        raise DTypeError(f"multinomial: input must be floating, got {input.dtype}; use input.float()")
    weights = _on_cpu(input)
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ArgumentError("multinomial: weights must be finite and 0 or more")
    least = 1 if replacement else num_samples
    if num_samples < 1 or ((weights > 0).sum(-1) < least).any():
        raise ArgumentError(
            f"multinomial: num_samples must be from 1 up to the classes that have a weight, got {num_samples}; "
            "or draw with replacement"
        )
    draw = _drawn(generator)
    if replacement:
        ends = weights.cumsum(-1)
        points = draw.random((*weights.shape[:-1], num_samples)) * ends[..., -1:]
        found = (ends[..., None, :] <= points[..., None]).sum(-1)
    else:  # whose exponential clock, running at the speed of its weight, rings first (Efraimidis and Spirakis, 2006)
        with np.errstate(divide="ignore"):
            rings = draw.standard_exponential(weights.shape) / weights
        found = rings.argsort(-1, kind="stable")[..., :num_samples]
    return Tensor.of(found.astype(DEFAULT_INT)).to(input.device)


def normal(
    mean: Any, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None, dtype: DType | None = None,
    device: Device | str = "cpu", requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Numbers from normal distributions with these means and standard deviations.

    Args:
        mean, std: tensors, or numbers; they broadcast.
        size: the shape, where both are numbers.

    Raises:
        ArgumentError: if a standard deviation is negative, or `size` is given where it is not needed, or left out.
    """
    tensors = [t for t in (mean, std) if isinstance(t, Tensor)]
    if (size is None) != bool(tensors):
        raise ArgumentError("normal: size is needed where mean and std are numbers, and there alone")
    middle, spread = (_on_cpu(t) if isinstance(t, Tensor) else np.asarray(t, np.float64) for t in (mean, std))
    if not (spread >= 0).all():
        raise ArgumentError("normal: std must be 0 or more")
    shape = tuple(size) if size is not None else np.broadcast_shapes(middle.shape, spread.shape)
    numbers = _drawn(generator).standard_normal(shape) * spread + middle
    if tensors:
        return _like(tensors[0], numbers, dtype)
    return Tensor.of(np.asarray(numbers, dtype or DEFAULT_FLOAT)).to(device).requires_grad_(requires_grad)


def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Whole numbers from Poisson distributions whose means `input` has, in its type.

    Raises:
        ArgumentError: if a mean is negative or NaN.
    """
    means = _on_cpu(input)
    if not (means >= 0).all():
        raise ArgumentError("poisson: means must be 0 or more")
    return _like(input, _drawn(generator).poisson(means))


# -- in place ----------------------------------------------------------------------------------------------------------

Draw = Callable[[np.random.Generator, tuple[int, ...]], Numbers]


def _fill(name: str, input: Tensor, draw: Draw, generator: Generator | None, *, whole: bool = False) -> Tensor:
    """Overwrite `input` by draws, which must be of its kind."""
    if not (whole or is_floating(input.dtype)):
        raise DTypeError(f"{name}: the tensor must be floating, got {input.dtype}")
    return _overwrite[name](input, _like(input, draw(_drawn(generator), input.shape)))


def bernoulli_(input: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Overwrite `input` by 1 with probability `p`, a number or a tensor that broadcasts, and by 0 otherwise.

    Raises:
        ArgumentError: if a probability is not from 0 to 1.
    """
    chances = _on_cpu(p) if isinstance(p, Tensor) else np.asarray(p, np.float64)
    _check_chances("bernoulli_", chances)
    return _fill("bernoulli_", input, lambda rng, shape: rng.random(shape) < chances, generator, whole=True)


def cauchy_(input: Tensor, median: float = 0, sigma: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Overwrite `input` by draws from the Cauchy distribution around `median`, of half width `sigma`.

    Raises:
        ArgumentError: if `sigma` is not above 0.
        DTypeError: if `input` is not floating.
    """
    _check_above_zero("cauchy_", "sigma", sigma)
    return _fill("cauchy_", input, lambda rng, shape: rng.standard_cauchy(shape) * sigma + median, generator)


def exponential_(input: Tensor, lambd: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Overwrite `input` by draws from the exponential distribution of rate `lambd`, whose mean is 1 / lambd.

    Raises:
        ArgumentError: if `lambd` is not above 0.
        DTypeError: if `input` is not floating.
    """
    _check_above_zero("exponential_", "lambd", lambd)
    return _fill("exponential_", input, lambda rng, shape: rng.standard_exponential(shape) / lambd, generator)


def geometric_(input: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Overwrite `input` by how many trials of probability `p` there are up to the first success: 1, 2, ...

    Raises:
        ArgumentError: if `p` is not between 0 and 1.
    """
    if not 0 < p < 1:
        raise ArgumentError(f"geometric_: p must be between 0 and 1, got {p}")
    return _fill("geometric_", input, lambda rng, shape: rng.geometric(p, shape), generator, whole=True)


def log_normal_(input: Tensor, mean: float = 1, std: float = 2, *, generator: Generator | None = None) -> Tensor:
    """Overwrite `input` by exp of draws from the normal distribution of this mean and standard deviation.

    Raises:
        ArgumentError: if `std` is not above 0.
        DTypeError: if `input` is not floating.
    """
    _check_above_zero("log_normal_", "std", std)
    return _fill("log_normal_", input, lambda rng, shape: np.exp(rng.standard_normal(shape) * std + mean), generator)


def normal_(input: Tensor, mean: float = 0, std: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Overwrite `input` by draws from the normal distribution.

    Raises:
        ArgumentError: if `std` is negative.
        DTypeError: if `input` is not floating.
    """
    if not std >= 0:
        raise ArgumentError(f"normal_: std must be 0 or more, got {std}")
    return _fill("normal_", input, lambda rng, shape: rng.standard_normal(shape) * std + mean, generator)


def random_(input: Tensor, low: int | None = None, high: int | None = None, *,
            generator: Generator | None = None) -> Tensor:  # fmt: skip
    """Overwrite `input` by whole numbers from `low` up to, not including, `high`.

    With one number, from 0 up to it. With none, from 0 up to the largest that the type holds with all whole numbers
    below it.

    Raises:
        ArgumentError: if `low` is not below `high`.
    """
    start, stop = (0, low) if high is None else (low or 0, high)
    if stop is None:
        is_real = is_floating(input.dtype)
        stop = 2 ** _digits(input.dtype) + 1 if is_real else 2 if input.dtype == bool else np.iinfo(input.dtype).max
    if start >= stop:
        raise ArgumentError(f"random_: low must be below high, got {start} and {stop}")
    return _fill("random_", input, lambda rng, shape: rng.integers(start, stop, shape), generator, whole=True)


def uniform_(input: Tensor, low: float = 0, high: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Overwrite `input` by numbers evenly spread over [low, high).

    Raises:
        ArgumentError: if `low` is above `high`.
        DTypeError: if `input` is not floating.
    """
    if not low <= high:
        raise ArgumentError(f"uniform_: low must be at most high, got {low} and {high}")
    return _fill("uniform_", input, lambda rng, shape: rng.random(shape) * (high - low) + low, generator)


# -- what they share ---------------------------------------------------------------------------------------------------


def _drawn(generator: Generator | None) -> np.random.Generator:
    return (generator or default_generator()).numpy()


def _on_cpu(input: Tensor) -> Numbers:
    return input.detach().cpu().numpy().astype(np.float64)


def _like(input: Tensor, numbers: Any, dtype: DType | None = None) -> Tensor:
    return Tensor.of(np.asarray(numbers).astype(dtype or input.dtype)).to(input.device)


def _digits(dtype: DType) -> int:
    """How many binary digits a floating type has."""
    return 1 - int(np.log2(finfo(dtype).eps))


def _check_chances(name: str, chances: Numbers) -> None:
    if not ((chances >= 0) & (chances <= 1)).all():
        raise ArgumentError(f"{name}: probabilities must be from 0 to 1")


def _check_above_zero(name: str, argument: str, value: float) -> None:
    if not value > 0:
        raise ArgumentError(f"{name}: {argument} must be above 0, got {value}")


_overwrite = {name: overwriting(name) for name in __all__ if name.endswith("_")}
registry.functions.update({name: globals()[name] for name in __all__})
