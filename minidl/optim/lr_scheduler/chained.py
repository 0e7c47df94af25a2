"""ChainedScheduler: several schedules at once, their factors multiplied."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from minidl.errors import ArgumentError
from minidl.optim.lr_scheduler.base import LRScheduler
from minidl.optim.lr_scheduler.sequential import check_parts, load_parts
from minidl.optim.optimizer import Optimizer

__all__ = ["ChainedScheduler"]


class ChainedScheduler(LRScheduler):
    """The base rate times what each of the `schedulers` makes of a rate of 1.

    >>> from minidl import optim, zeros
    >>> optimizer = optim.SGD([zeros(1)], lr=1.0)
    >>> warmup = optim.lr_scheduler.ConstantLR(optimizer, 0.5, total_iters=2)
    >>> schedule = ChainedScheduler([warmup, optim.lr_scheduler.ExponentialLR(optimizer, 0.9)])
    >>> rates = []
    >>> for _ in range(3):
    ...     rates.append(round(optimizer.param_groups[0]["lr"], 3))
    ...     schedule.step()
    >>> rates
    [0.5, 0.45, 0.81]
    """

    not_saved = ("optimizer", "schedulers")

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        if not schedulers:
            raise ArgumentError("ChainedScheduler: needs at least one scheduler")
        optimizer = optimizer or getattr(schedulers[0], "optimizer", None)
        check_parts("ChainedScheduler", schedulers, optimizer)
        assert optimizer is not None
        self.schedulers = list(schedulers)
        super().__init__(optimizer)

    def go_to(self, epoch: int) -> None:
        for scheduler in self.schedulers:
            scheduler.go_to(epoch)
        super().go_to(epoch)

    def get_lr(self) -> list[float]:
        parts = zip(*[scheduler.get_lr() for scheduler in self.schedulers], strict=True)
        return [base * math.prod(rate / base for rate in rates) if base else 0.0
                for base, rates in zip(self.base_lrs, parts, strict=True)]  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """As for all schedules, with the states of the parts under "schedulers"."""
        return {**super().state_dict(), "schedulers": [scheduler.state_dict() for scheduler in self.schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        load_parts(self, self.schedulers, state_dict)
