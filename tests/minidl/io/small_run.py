"""A training run with all that has a state: weights, Adam, a schedule, dropout, augmentation, order, averages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import minidl
from minidl import nn, optim
from minidl.io import Checkpoint, CheckpointFolder, save_checkpoint
from minidl.utils.data import DataLoader, Dataset, sample_generator

BATCHES_A_STEP = 2  # gradients are accumulated, and a pass has 7 batches: steps lie across its end


class Points(Dataset[Any]):
    """Noisy points in the plane, and whether they lie inside the circle."""

    def __len__(self) -> int:
        return 27

    def __getitem__(self, index: int) -> Any:
        point = np.array([np.cos(index), np.sin(2 * index)], np.float32)
        noise = sample_generator().normal((2,), std=0.1)
        return point + noise, int((point**2).sum() < 1)


class Run:
    """One run; two of them with the same seed take the same bits, and one with another seed after `restore`."""

    def __init__(self, seed: int = 0, workers: int = 0, kind: str = "Adam", total: int = 200) -> None:
        minidl.manual_seed(seed)
        self.net = nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))
        self.optimizer = getattr(optim, kind)(self.net.parameters(), lr=0.01)
        self.schedule = optim.lr_scheduler.OneCycleLR(
            self.optimizer, 0.05, total_steps=total + 2, cycle_momentum=kind == "Adam"
        )
        self.average = optim.swa_utils.AveragedModel(self.net, multi_avg_fn=optim.swa_utils.get_ema_multi_avg_fn(0.9))
        self.loader = DataLoader(Points(), batch_size=4, shuffle=True, num_workers=workers)
        self.steps = 0
        self._batches = self._endless()

    def _endless(self) -> Iterator[Any]:
        while True:
            yield from self.loader

    def step(self) -> None:
        self.optimizer.zero_grad()
        for _ in range(BATCHES_A_STEP):
            points, labels = next(self._batches)
            (nn.functional.cross_entropy(self.net(points), labels) / BATCHES_A_STEP).backward()
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.net)
        self.steps += 1

    def content(self) -> dict[str, Any]:
        """What a checkpoint is made of."""
        return {
            "net": self.net, "optimizer": self.optimizer, "schedule": self.schedule, "average": self.average,
            "loader": self.loader, "position": {"steps": self.steps},
        }  # fmt: skip

    def restore(self, held: Checkpoint) -> None:
        held.restore(**{name: thing for name, thing in self.content().items() if name != "position"})
        self.steps = held.position["steps"]
        self._batches = self._endless()

    def go_on(self, folder: CheckpointFolder) -> None:
        """Restore the newest checkpoint, if there is one."""
        held = folder.newest()
        if held is not None:
            self.restore(held)

    def digest(self, scratch: Path) -> str:
        """A hash of all of the state: equal states make equal files."""
        return hashlib.sha256(save_checkpoint(scratch / "digest", **self.content()).read_bytes()).hexdigest()
