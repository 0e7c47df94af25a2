"""The two sides of a comparison: the same network and the same op in minidl and in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import minidl.nn.functional
import numpy as np

import minidl
import minidl.optim
from benchmarks.networks import Network
from benchmarks.ops import OpCase

Step = Callable[[], Any]


class Trainer:
    """One network with its data and Adam, in either library."""

    def __init__(self, lib: Any, network: Network, *, channels_last: bool = False) -> None:
        self.lib, self.functional = lib, lib.nn.functional
        self.model = network.build(lib)
        x, target = network.draw()
        self.x, self.target = lib.tensor(x), lib.tensor(target)
        if channels_last:
            memory = lib.channels_last if x.ndim == 4 else lib.channels_last_3d
            self.model, self.x = self.model.to(memory_format=memory), self.x.to(memory_format=memory)
        self.optimizer = lib.optim.Adam(self.model.parameters(), lr=1e-3)

    def loss(self) -> Any:
        return self.functional.cross_entropy(self.model(self.x), self.target)

    def train_step(self) -> float:
        """Forward, backward, Adam; gives the loss before the step."""
        self.model.train()
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def infer(self) -> Any:
        self.model.eval()
        with self.lib.no_grad():
            return self.model(self.x)


def pair(network: Network, torch: Any) -> tuple[Trainer, Trainer]:
    """Both trainers, ours with PyTorch's weights."""
    torch.manual_seed(0)
    ours, theirs = Trainer(minidl, network), Trainer(torch, network)
    ours.model.load_state_dict({k: minidl.tensor(v.numpy().copy()) for k, v in theirs.model.state_dict().items()})
    return ours, theirs


def prove(network: Network, torch: Any, steps: int = 20) -> dict[str, float]:
    """The largest relative differences of output, loss and gradients, and of the losses over some Adam steps.

    Raises:
        AssertionError: if one is above 1e-3; then a time would mean nothing.
    """
    ours, theirs = pair(network, torch)
    apart = {"output": _apart(ours.infer().numpy(), theirs.infer().numpy())}
    ours.model.train()
    theirs.model.train()
    loss, their_loss = ours.loss(), theirs.loss()
    loss.backward()
    their_loss.backward()
    apart["loss"] = _apart(loss.detach().numpy(), their_loss.detach().numpy())
    # Against the largest gradient of all: a bias before a batch-norm has a gradient of zero, and both give noise there.
    grads = [
        (p.grad.numpy(), q.grad.numpy())
        for p, q in zip(ours.model.parameters(), theirs.model.parameters(), strict=True)
    ]
    scale = max(float(np.abs(q).max()) for _, q in grads)
    apart["gradients"] = max(float(np.abs(p - q).max()) for p, q in grads) / scale
    ours, theirs = pair(network, torch)
    apart["losses"] = max(_apart(ours.train_step(), theirs.train_step()) for _ in range(steps))
    if any(value > 1e-3 for value in apart.values()):
        raise AssertionError(f"{network.name}: ours and PyTorch's differ, relative: {apart}")
    return apart


def _apart(ours: Any, theirs: Any) -> float:
    """The largest difference, relative to the largest value."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    return float(np.abs(ours - theirs).max() / max(float(np.abs(theirs).max()), 1e-30))


def op_step(lib: Any, case: OpCase, *, backward: bool, channels_last: bool = False) -> Step:
    """A call of the op, with or without the gradients of all its arguments."""
    tensors = [lib.tensor(a).requires_grad_(backward) for a in case.draw()]
    if channels_last:
        tensors = [
            t.detach().to(memory_format=lib.channels_last).requires_grad_(backward) if t.ndim == 4 else t
            for t in tensors
        ]
    result = case.call(lib, lib.nn.functional, *tensors)
    weights = lib.tensor(np.ones(tuple(result.shape), np.float32))
    if channels_last and result.ndim == 4:
        weights = weights.to(memory_format=lib.channels_last)

    def step() -> Any:
        for t in tensors:
            t.grad = None
        result = case.call(lib, lib.nn.functional, *tensors)
        if backward:
            result.backward(weights)
        return result

    return step
