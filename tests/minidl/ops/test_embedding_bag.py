"""embedding_bag: values and gradients are PyTorch's, for bags of any lengths."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl.errors import ShapeError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def bags(lib, weight, index, offsets, **options):
    weight = lib.tensor(weight, requires_grad=True)
    offsets = None if offsets is None else lib.tensor(offsets)
    found = lib.nn.functional.embedding_bag(lib.tensor(index), weight, offsets, **options)
    (found * found).sum().backward()
    return found.detach().numpy(), weight.grad.numpy()


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("width", [1, 5, 64])
@pytest.mark.parametrize("offsets", [None, [0, 3, 3, 11, 24]], ids=["alike", "any"])
def test_bags_are_pytorchs(mode, padding, width, offsets) -> None:
    """The second of the bags is empty, and so is the last one, unless the last offset names the end."""
    rng = np.random.default_rng(0)
    weight, index = rng.standard_normal((9, width)), rng.integers(0, 9, (4, 6) if offsets is None else 24)
    for more in [{}] if offsets is None else [{}, {"include_last_offset": True}]:
        options = {"mode": mode, "padding_idx": padding, **more}
        for ours, theirs in zip(
            bags(minidl, weight, index, offsets, **options), bags(torch, weight, index, offsets, **options), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("offsets", [[1, 2], [0, 7], [0, 3, 2]], ids=str)
def test_offsets_that_do_not_rise_within_the_picks_are_named(offsets) -> None:
    with pytest.raises(ShapeError, match="embedding_bag: offsets must rise from 0 to at most 6"):
        minidl.nn.functional.embedding_bag(minidl.arange(6), minidl.ones(6, 2), minidl.tensor(offsets))
