"""The CUDA kernels of cross-entropy, executed on the CPU, beside the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minidl
from minidl.errors import ShapeError
from minidl.ops.cross_entropy import CrossEntropy
from tests.minidl.gpu import cuda_on_cpu
from tests.minidl.gpu.conftest import stand_in

SHAPES = [(5, 3), (1, 1), (300, 4), (2, 3, 5, 7), (3, 2, 40, 41)]


def loss_and_gradient(
    shape: tuple[int, ...], reduction: str, smoothing: float, weighted: bool, dtype: Any, device: str
) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    x = minidl.tensor(rng.standard_normal(shape).astype(dtype)).to(device).requires_grad_()
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    target.reshape(-1)[1:][::7] = -100
    weight = minidl.tensor(rng.uniform(0.5, 2, shape[1]).astype(dtype)).to(device) if weighted else None
    with minidl.use_numba(False):
        loss = minidl.cross_entropy(
            x, minidl.tensor(target).to(device), weight, reduction=reduction, label_smoothing=smoothing
        )
        loss.backward(minidl.tensor(rng.standard_normal(loss.shape).astype(dtype)).to(device))
    return [t.detach().cpu().numpy() for t in (loss, x.grad)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda t: t.__name__)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_loss_and_gradient_equal_the_reference(
    shape: tuple[int, ...], reduction: str, smoothing: float, weighted: bool, dtype: Any
) -> None:
    """To roundings of the sum of all places."""
    cuda_on_cpu.need_compiler()
    wanted = loss_and_gradient(shape, reduction, smoothing, weighted, dtype, "cpu")
    with stand_in():
        given = loss_and_gradient(shape, reduction, smoothing, weighted, dtype, "cuda")
    for ours, theirs in zip(given, wanted, strict=True):
        bound = 20 * np.finfo(dtype).eps * max(1, np.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)


def test_neither_the_order_of_threads_nor_the_number_of_blocks_changes_a_bit() -> None:
    cuda_on_cpu.need_compiler()
    found = []
    for load in cuda_on_cpu.LOADERS:
        with stand_in(load):
            found.append(loss_and_gradient(SHAPES[-1], "mean", 0.1, True, np.float32, "cuda"))
    for other in found[1:]:
        for first, second in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


def test_one_message_comes_from_the_gpu_before_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """And none beside it: to read a number, the host waits for all that was started."""
    cuda_on_cpu.need_compiler()
    from tests.minidl.gpu import strict_array

    asked: list[str] = []
    for name in ("get", "__int__", "__float__", "__bool__"):
        taken = getattr(strict_array.StrictArray, name)
        monkeypatch.setattr(
            strict_array.StrictArray, name, lambda self, name=name, taken=taken: asked.append(name) or taken(self)
        )
    with stand_in():
        x, target = minidl.ones(4, 3, device="cuda"), minidl.zeros(4, device="cuda").long()
        asked.clear()
        minidl.cross_entropy(x, target)
    assert asked == ["get"]


def test_a_class_out_of_range_is_named() -> None:
    with stand_in(), pytest.raises(ShapeError, match="target 7 is no class"):
        minidl.cross_entropy(minidl.ones(2, 3, device="cuda"), minidl.tensor([1, 7]).long().to("cuda"))


def test_a_loss_of_logits_with_nan_is_nan() -> None:
    cuda_on_cpu.need_compiler()
    with stand_in():
        logits = minidl.tensor([[1.0, np.nan, 0.0], [np.nan, 1.0, 0.0]]).to("cuda")
        found = CrossEntropy.apply(
            logits, minidl.tensor([0, 1]).long().to("cuda"), minidl.ones(3, device="cuda"), ignore_index=-100,
            smoothing=0.0, reduction="none",
        )  # fmt: skip
        assert np.isnan(found[0].cpu().numpy()).all()
