"""Every layer on the GPU, forward and backward, against the CPU."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import GradError

pytest.importorskip("torch", reason="PyTorch is not installed")  # the table of layers lies beside PyTorch's

from tests.minidl.nn.test_layers_against_torch import ROWS, Row


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_layers_equal_the_cpus(cuda: str, row: Row) -> None:
    """float64: only the order of sums differs."""
    x = np.random.default_rng(0).standard_normal(row.shape)
    found = []
    for device in (cuda, "cpu"):
        minidl.manual_seed(0)
        layer = getattr(nn, row.layer)(*row.args, **row.kwargs).double().to(device)
        leaf = minidl.tensor(x, device=device, requires_grad=True)
        with minidl.use_numba(False):
            result = layer(leaf * 1)
            (result * result).sum().backward()
        tensors = [result, leaf.grad, *layer.state_dict().values(), *(p.grad for p in layer.parameters())]
        assert all(t.device.type == device for t in tensors)
        found.append([t.detach().cpu().numpy() for t in tensors])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-11)


def test_a_computed_tensor_stays_on_its_device(cuda: str) -> None:
    x = minidl.ones(2, device=cuda, requires_grad=True) * 2
    with pytest.raises(GradError, match="to: a computed tensor cannot change its device on the tape; move the inputs"):
        x.to("cpu")
