"""Whether our results are PyTorch's: shapes, element types, values and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import Tensor
from tests.minidl.oracle.bridge import DTYPES, array_of, tensors
from tests.minidl.oracle.pytorch import torch

# rtol and atol of `torch.testing.assert_close`, by which PyTorch's own suite compares two ways to compute one thing.
BOUNDS = {"float64": (1e-7, 1e-7), "float32": (1.3e-6, 1e-5), "float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5)}


def check_results(given: Any, wanted: Any, *, values: bool = True, dtypes: bool = True, slack: float = 1.0) -> None:
    """Raise AssertionError unless `given` (ours) is `wanted` (PyTorch's).

    Args:
        values: False compares shapes and element types alone, as for random draws.
        dtypes: False lets element types differ, where ours follow NumPy.
        slack: by how much the bounds are multiplied.
    """
    if isinstance(wanted, torch.Tensor):
        assert isinstance(given, Tensor), f"a tensor is wanted, got {type(given).__name__}"
        _check_tensor(given, wanted, values, dtypes, slack)
    elif isinstance(wanted, (list, tuple)):
        assert isinstance(given, (list, tuple)), f"{len(wanted)} results are wanted, got {type(given).__name__}"
        assert len(given) == len(wanted), f"{len(wanted)} results are wanted, got {len(given)}"
        for one, other in zip(given, wanted, strict=True):
            check_results(one, other, values=values, dtypes=dtypes, slack=slack)
    elif isinstance(wanted, torch.dtype):
        assert given == DTYPES[wanted]
    elif values:
        assert given == wanted or (given != given and wanted != wanted), f"{wanted!r} is wanted, got {given!r}"


def _check_tensor(given: Tensor, wanted: torch.Tensor, values: bool, dtypes: bool, slack: float) -> None:
    assert given.shape == tuple(wanted.shape), f"shape {tuple(wanted.shape)} is wanted, got {given.shape}"
    if dtypes:
        assert given.dtype == DTYPES.get(wanted.dtype), f"{wanted.dtype} is wanted, got {given.dtype}"
    if values:
        rtol, atol = BOUNDS.get(str(given.dtype), (0.0, 0.0))
        np.testing.assert_allclose(given.array, array_of(wanted), rtol=rtol * slack, atol=atol * slack, equal_nan=True)


def check_gradients(given: Any, wanted: Any, inputs: list[Tensor], leaves: list[torch.Tensor], slack: float) -> int:
    """Pull the same random weights back through both graphs, and compare what arrives at each leaf.

    Returns:
        How many gradients were compared.
    """
    pairs = [(a, b) for a, b in zip(tensors(given, Tensor), tensors(wanted, torch.Tensor), strict=True)
             if b.requires_grad]  # fmt: skip
    asked = [(a, b) for a, b in zip(inputs, leaves, strict=True) if b.requires_grad]
    if not pairs or not asked:
        return 0
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(tuple(b.shape)) for _, b in pairs]
    theirs = torch.autograd.grad(
        [b for _, b in pairs], [b for _, b in asked],
        [torch.tensor(w, dtype=b.dtype) for w, (_, b) in zip(weights, pairs, strict=True)], allow_unused=True,
    )  # fmt: skip
    for w, (a, _) in zip(weights, pairs, strict=True):
        if a.requires_grad:
            a.backward(Tensor.of(w.astype(a.dtype).reshape(a.shape)), retain_graph=True)
    for (mine, _), grad in zip(asked, theirs, strict=True):
        _check_gradient(mine, grad, slack)
    return len(asked)


def _check_gradient(leaf: Tensor, wanted: torch.Tensor | None, slack: float) -> None:
    rtol, atol = BOUNDS[str(leaf.dtype)]
    zeros = np.zeros(leaf.shape)
    given = zeros if leaf.grad is None else leaf.grad.array
    theirs = zeros if wanted is None else array_of(wanted)
    np.testing.assert_allclose(given, theirs, rtol=rtol * slack, atol=atol * slack, err_msg="gradient")
