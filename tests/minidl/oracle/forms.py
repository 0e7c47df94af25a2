"""Where PyTorch's list calls an op in another form than its documentation: our call of that form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import minidl
from minidl import linalg
from minidl.nn import functional as F


def _with_our_distance(*inputs: Any, distance_function: Any = None, **options: Any) -> Any:
    """PyTorch's distances take its own tensors; the list has the default alone, and PairwiseDistance, which is it."""
    return F.triplet_margin_with_distance_loss(*inputs, **options)


FORMS: dict[str, Callable[..., Any]] = {
    "unfold": lambda x, *args: x.unfold(*args),
    "where": lambda x, condition, other: minidl.where(condition, x, other),
    "einsum": lambda tensors, equation: minidl.einsum(equation, *tensors),
    "normal.in_place": lambda x, *args, **options: x.normal_(*args, **options),
    "normal.number_mean": lambda std, mean, *args, **options: minidl.normal(mean, std, *args, **options),
    "zero_": lambda x: minidl.zero_(x.clone()),
    "linalg.pinv.singular": lambda a, b: linalg.pinv(a @ b.mT),
    "nn.functional.embedding": lambda weight, index, **options: F.embedding(index, weight, **options),
    "nn.functional.embedding_bag": lambda weight, index, **options: F.embedding_bag(index, weight, **options),
    "nn.functional.triplet_margin_with_distance_loss": _with_our_distance,
    **{f"polygamma.polygamma_n_{n}": lambda x, n: minidl.polygamma(n, x) for n in range(5)},
    "special.polygamma.special_polygamma_n_0": lambda x, n: minidl.special.polygamma(n, x),
}
