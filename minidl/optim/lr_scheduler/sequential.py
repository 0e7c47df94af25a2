"""SequentialLR: one schedule after the other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from minidl.errors import ArgumentError, StateDictError
from minidl.optim.lr_scheduler.base import LRScheduler
from minidl.optim.optimizer import Optimizer

__all__ = ["SequentialLR"]


class SequentialLR(LRScheduler):
    """Schedules that take turns: the next one starts, at its own epoch 0, at each of the `milestones`.

    >>> from minidl import optim, zeros
    >>> optimizer = optim.SGD([zeros(1)], lr=1.0)
    >>> warmup = optim.lr_scheduler.LinearLR(optimizer, 0.5, total_iters=2)
    >>> schedule = SequentialLR(optimizer, [warmup, optim.lr_scheduler.StepLR(optimizer, 1)], [2])
    >>> rates = []
    >>> for _ in range(4):
    ...     rates.append(optimizer.param_groups[0]["lr"])
    ...     schedule.step()
    >>> rates
    [0.5, 0.75, 1.0, 0.1]
    """

    not_saved = ("optimizer", "schedulers")

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        if len(milestones) != len(schedulers) - 1:
            raise ArgumentError(
                f"SequentialLR: {len(schedulers)} schedulers need {max(len(schedulers) - 1, 0)} milestones between "
                f"them, got {len(milestones)}"
            )
        check_parts("SequentialLR", schedulers, optimizer)
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        super().__init__(optimizer, last_epoch)

    def go_to(self, epoch: int) -> None:
        self.last_epoch = epoch
        turn = bisect_right(self.milestones, epoch)
        self.schedulers[turn].go_to(epoch - (self.milestones[turn - 1] if turn else 0))

    def state_dict(self) -> dict[str, Any]:
        """As for all schedules, with the states of the parts under "schedulers"."""
        return {**super().state_dict(), "schedulers": [scheduler.state_dict() for scheduler in self.schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        load_parts(self, self.schedulers, state_dict)


def check_parts(name: str, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None) -> None:
    """Raise an ArgumentError unless all are schedules of this optimizer."""
    for position, scheduler in enumerate(schedulers):
        if not isinstance(scheduler, LRScheduler):
            raise ArgumentError(f"{name}: a {type(scheduler).__name__} is not a function of the epoch")
        if scheduler.optimizer is not optimizer:
            raise ArgumentError(f"{name}: scheduler {position} belongs to another optimizer")


def load_parts(whole: LRScheduler, parts: Sequence[LRScheduler], state_dict: Mapping[str, Any]) -> None:
    """Load the state of a schedule made of others: of all of them, or of none."""
    states = state_dict.get("schedulers", ())
    if len(states) != len(parts):
        raise StateDictError(f"{type(whole).__name__}: the state has {len(states)} parts, this one {len(parts)}")
    for scheduler, state in zip(parts, states, strict=True):
        scheduler.check_state(state)
    whole.check_state(state_dict)
    for scheduler, state in zip(parts, states, strict=True):
        scheduler.load_state_dict(state)
    vars(whole).update({key: value for key, value in state_dict.items() if key != "schedulers"})
