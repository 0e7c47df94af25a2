"""Averages of weights while a net trains: stochastic weight averaging (SWA) and running averages (EMA).

    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    for batch in loader: ...; optimizer.step(); average.update_parameters(model)
    update_bn(loader, average)          # the statistics of batch normalisation belong to the weights

Source: Izmailov et al., UAI 2018 (SWA); Polyak and Juditsky, SIAM J. Control Optim. 1992.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, compress
from operator import not_
from typing import Any

import numpy as np

from minidl.core import Tensor, recording
from minidl.device import Device
from minidl.errors import ArgumentError, ShapeError
from minidl.nn import BatchNorm1d, BatchNorm2d, BatchNorm3d, Module
from minidl.ops.many import MixAll
from minidl.optim.lr_scheduler.base import LRScheduler, each_group
from minidl.optim.optimizer import Optimizer

__all__ = [
    "SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn", "get_swa_multi_avg_fn",
    "update_bn",
]  # fmt: skip

_NORMS = (BatchNorm1d, BatchNorm2d, BatchNorm3d)
Average = Callable[[Tensor, Tensor, Any], Tensor]  # (average, new weight, how many were averaged) -> new average
MultiAverage = Callable[[list[Tensor], list[Tensor], Any], None]  # the same for many, in place


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAverage:
    """A running average that keeps `decay` of itself, for all weights in one launch."""
    _check_decay(decay)

    def update(averages: list[Tensor], weights: list[Tensor], num_averaged: Any) -> None:
        MixAll.apply(averages, weights, share=1.0 - decay)

    return update


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """A running average that keeps `decay` of itself, for one weight."""
    _check_decay(decay)
    return lambda average, weight, num_averaged: decay * average + (1.0 - decay) * weight


def get_swa_multi_avg_fn() -> MultiAverage:
    """The mean of all weights so far, for all weights in one launch."""

    def update(averages: list[Tensor], weights: list[Tensor], num_averaged: Any) -> None:
        MixAll.apply(averages, weights, share=1.0 / (int(num_averaged) + 1))

    return update


def get_swa_avg_fn() -> Average:
    """The mean of all weights so far, for one weight."""
    return lambda average, weight, num_averaged: average + (weight - average) / (int(num_averaged) + 1)


def _check_decay(decay: float) -> None:
    if not 0.0 <= decay <= 1.0:
        raise ArgumentError(f"get_ema_avg_fn: decay must be from 0 to 1, got {decay}")


class AveragedModel(Module):
    """A copy of a model that holds averages of its weights; used like the model itself.

    Args:
        model: is copied; the copy is under `module`, as in PyTorch's state_dict.
        device: where the averages live; where the model is when None.
        avg_fn: (average, weight, num_averaged) -> average; the mean of all (SWA) when None.
        multi_avg_fn: (averages, weights, num_averaged), all at once and in place, instead of `avg_fn`.
        use_buffers: average buffers too; otherwise the last ones are copied.

    >>> from minidl import nn, ones
    >>> model = nn.Linear(1, 1)
    >>> average = AveragedModel(model)
    >>> for value in (1.0, 2.0, 6.0):
    ...     model.weight.data = value * ones(1, 1)
    ...     average.update_parameters(model)
    >>> average.module.weight.item()
    3.0
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Device | str | None = None,
        avg_fn: Average | None = None,
        multi_avg_fn: MultiAverage | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise ArgumentError("AveragedModel: give either avg_fn or multi_avg_fn")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", Tensor.of(_count(0)))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the weights of `model`, as they are now, into the averages; the first ones are copied."""
        count = int(self.n_averaged)
        with recording(False):
            averages, weights = self._averaged(self.module), self._averaged(model)
            if [a.shape for a in averages] != [w.shape for w in weights]:
                raise ShapeError("AveragedModel: the model has other weights than the one that was copied")
            weights = [w.detach().to(a.device) for a, w in zip(averages, weights, strict=True)]
            if count == 0:
                _copy(averages, weights)
            elif self.avg_fn is not None:
                _copy(averages, [self.avg_fn(a, w, count) for a, w in zip(averages, weights, strict=True)])
            else:
                self._mix(averages, weights, count)
            if not self.use_buffers:
                _copy(self.module.buffers(), (b.to(self.n_averaged.device) for b in model.buffers()))
            self.n_averaged.copy_(Tensor.of(_count(count + 1)))

    def _averaged(self, model: Module) -> list[Tensor]:
        return [t.detach() for t in chain(model.parameters(), model.buffers() if self.use_buffers else ())]

    def _mix(self, averages: list[Tensor], weights: list[Tensor], count: int) -> None:
        """Average what is floating; of whole numbers, as in counters, the last ones are taken."""
        is_floating = [a.is_floating_point() for a in averages]
        _copy(compress(averages, map(not_, is_floating)), compress(weights, map(not_, is_floating)))
        mix = self.multi_avg_fn or get_swa_multi_avg_fn()
        mix(list(compress(averages, is_floating)), list(compress(weights, is_floating)), count)


def _copy(targets: Iterable[Tensor], sources: Iterable[Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.detach().copy_(source)


def _count(number: int) -> Any:
    return np.array(number, np.int64)


def update_bn(loader: Iterable[Any], model: Module, device: Device | str | None = None) -> None:
    """Make the statistics of batch normalisation anew, as means over all batches of `loader`.

    Args:
        loader: batches; of a list or tuple, the first part is the input.
        model: is run in training mode, without a tape, and put back to the mode it was in.
        device: where the inputs are moved first.
    """
    norms = [module for module in model.modules() if isinstance(module, _NORMS)]
    momenta, was_training = [norm.momentum for norm in norms], model.training
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
    try:
        model.train()
        with recording(False):
            for batch in loader:
                input = batch[0] if isinstance(batch, (list, tuple)) else batch
                model(input if device is None else input.to(device))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.train(was_training)


class SWALR(LRScheduler):
    """From the rate at its first step to `swa_lr` in `anneal_epochs`, and constant from there.

    It may be made at the start of a run, beside the schedule of the first part, and stepped when that has done.

    Args:
        swa_lr: the rate of averaging; a list gives each group its own.
        anneal_strategy: "cos" or "linear".
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | Sequence[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        if anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(f"SWALR: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
        if anneal_epochs < 0:
            raise ArgumentError(f"SWALR: anneal_epochs must be 0 or more, got {anneal_epochs}")
        groups = optimizer.param_groups if isinstance(optimizer, Optimizer) else []
        self.swa_lrs = each_group("SWALR", "swa_lr", swa_lr, len(groups)) if groups else []
        self.anneal_epochs, self.anneal_strategy = anneal_epochs, anneal_strategy
        self.start_lrs: list[float] = []
        super().__init__(optimizer, last_epoch)

    def go_to(self, epoch: int) -> None:
        if epoch <= 1 or not self.start_lrs:
            self.start_lrs = self.get_last_lr()
        super().go_to(epoch)

    def get_lr(self) -> list[float]:
        done = min(1.0, self.last_epoch / self.anneal_epochs) if self.anneal_epochs else 1.0
        share = done if self.anneal_strategy == "linear" else (1 - math.cos(math.pi * done)) / 2
        return [swa * share + lr * (1 - share) for swa, lr in zip(self.swa_lrs, self.start_lrs, strict=True)]
