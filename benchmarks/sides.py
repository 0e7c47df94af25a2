"""The two sides of a comparison: the same network and the same op in minidl and in PyTorch."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import minidl
import minidl.nn.functional
import minidl.optim
from benchmarks.networks import Network
from benchmarks.ops import OpCase
from minidl.testing import LAYOUTS

Step = Callable[[], Any]


class Trainer:
    """One network with its data and Adam, in either library."""

    def __init__(self, lib: Any, network: Network, *, channels_last: bool = False, double: bool = False) -> None:
        self.lib, self.functional = lib, lib.nn.functional
        self.model = network.build(lib)
        x, target = network.draw()
        self.x, self.target = lib.tensor(x), lib.tensor(target)
        if double:
            self.model, self.x = self.model.double(), self.x.double()
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


def pair(network: Network, torch: Any, *, double: bool = False) -> tuple[Trainer, Trainer]:
    """Both trainers, ours with PyTorch's weights."""
    torch.manual_seed(0)
    ours, theirs = Trainer(minidl, network, double=double), Trainer(torch, network, double=double)
    _hand_over(theirs, ours)
    return ours, theirs


def _hand_over(theirs: Trainer, ours: Trainer) -> None:
    """Give ours the weights and statistics of PyTorch's."""
    ours.model.load_state_dict({k: minidl.tensor(v.numpy().copy()) for k, v in theirs.model.state_dict().items()})


def compiled(torch: Any, network: Network) -> Trainer:
    """PyTorch's trainer with its model compiled by torch.compile, which needs a C++ compiler."""
    trainer = Trainer(torch, network)
    trainer.model = torch.compile(trainer.model)
    return trainer


def onnxruntime_step(torch: Any, network: Network, threads: int) -> Step:
    """Inference of the network, exported by PyTorch, on onnxruntime's CPU provider."""
    import onnxruntime

    trainer, file = Trainer(torch, network), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch, about its two exporters
        torch.onnx.export(trainer.model.eval(), (trainer.x,), file, dynamo=False, input_names=["x"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    feed = {"x": trainer.x.numpy()}
    return lambda: session.run(None, feed)


def prove(network: Network, torch: Any, steps: int = 20) -> dict[str, float]:
    """The largest relative differences between ours and PyTorch's, from the same weights.

    PyTorch in float64 is the judge. Ours in float64 must agree to 1e-6 in gradients and in the losses of 20 Adam steps:
    there a difference is a mistake. In float32 both drift away from it, since each rounding that moves a value over the
    kink of a ReLU changes a gradient, and Adam makes a small gradient as large as any; both drifts are shown.

    Raises:
        AssertionError: if float32 outputs differ by more than 1e-4, or float64 by more than 1e-6; then a time would
            mean nothing.
    """
    network = network.smaller()
    ours, theirs = pair(network, torch)
    exact, judge = pair(network, torch, double=True)
    apart = {"gradients, float64": _gradients_apart(exact, judge)}
    exact, judge = pair(network, torch, double=True)
    losses = np.array([[side.train_step() for side in (judge, exact, ours, theirs)] for _ in range(steps)])
    drift = np.abs(losses[:, 1:] / losses[:, :1] - 1).max(0)
    # At rest, by what was learned: by the statistics of a new net its features may vanish beside the last bias.
    theirs.model.load_state_dict(judge.model.state_dict())
    _hand_over(theirs, ours)
    apart = {"output": _apart(ours.infer().numpy(), theirs.infer().numpy()), **apart}
    apart |= dict(zip(["losses, float64", "losses, float32", "losses, PyTorch's float32"], drift.tolist(), strict=True))
    bounds = {"output": 1e-4, "gradients, float64": 1e-6, "losses, float64": 1e-6}
    if not all(apart[what] <= bound for what, bound in bounds.items()):  # a NaN is none of them
        raise AssertionError(f"{network.name}: ours and PyTorch's differ, relative: {apart}")
    return apart


def _gradients_apart(ours: Trainer, theirs: Trainer) -> float:
    """Relative to the largest gradient of all: where one is zero but for rounding, both give noise."""
    for side in (ours, theirs):
        side.model.train()
        side.loss().backward()
    mine, other = ([p.grad.numpy() for p in side.model.parameters()] for side in (ours, theirs))
    largest = max(float(np.abs(g).max()) for g in other)
    return max(float(np.abs(a - b).max()) for a, b in zip(mine, other, strict=True)) / largest


def _apart(ours: Any, theirs: Any) -> float:
    """The largest difference, relative to the largest value."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    return float(np.abs(ours - theirs).max() / max(float(np.abs(theirs).max()), 1e-30))


def op_step(lib: Any, case: OpCase, *, backward: bool, channels_last: bool = False) -> Step:
    """A call of the op, with or without the gradients of all its arguments."""

    def laid_out(tensor: Any) -> Any:
        if not channels_last or tensor.ndim != 4:
            return tensor
        if lib is minidl:  # the order in which images lie between its layers
            return minidl.Tensor.of(LAYOUTS["channels last"](tensor.array))
        return tensor.to(memory_format=lib.channels_last)

    drawn = list(map(lib.tensor, case.draw()))
    laid = case.images if lib is minidl else len(drawn)  # our layers keep their weights as they are
    tensors = [t.requires_grad_(backward) for t in (*map(laid_out, drawn[:laid]), *drawn[laid:])]
    result = case.call(lib, lib.nn.functional, *tensors)
    ones = laid_out(lib.tensor(np.ones(tuple(result.shape), np.float32)))

    def step() -> Any:
        for t in tensors:
            t.grad = None
        result = case.call(lib, lib.nn.functional, *tensors)
        if backward:
            result.backward(ones)
        return result

    return step
