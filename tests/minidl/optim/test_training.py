"""A small CNN trained beside PyTorch's from the same weights: everything between the loss and the weights at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minidl

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def network(nn: Any) -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.GroupNorm(2, 8), nn.SiLU(), nn.Upsample(scale_factor=2),
        nn.ConvTranspose2d(8, 4, 2, stride=2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LayerNorm(16), nn.GELU(),
        nn.Linear(16, 3),
    )  # fmt: skip


def losses(lib: Any, net: Any, images: np.ndarray, labels: np.ndarray) -> list[float]:
    optimizer = lib.optim.AdamW(net.parameters(), lr=0.02)
    schedule = lib.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=20)
    criterion = lib.nn.CrossEntropyLoss(label_smoothing=0.1)
    seen = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = criterion(net(lib.from_numpy(images)), lib.from_numpy(labels))
        loss.backward()
        lib.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        seen.append(loss.item())
    return seen


def test_twenty_steps_follow_pytorchs_losses() -> None:
    """float32: roundings of the first steps grow with training; 1e-3 is what we promise, 1e-4 what is seen."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((12, 1, 8, 8)).astype(np.float32)
    labels = rng.integers(0, 3, 12)
    torch.manual_seed(0)
    theirs, ours = network(torch.nn), network(minidl.nn)
    ours.load_state_dict(theirs.state_dict())
    given, wanted = losses(minidl, ours, images, labels), losses(torch, theirs, images, labels)
    assert given == pytest.approx(wanted, rel=1e-3)
    assert given[-1] < 0.7 * given[0]
