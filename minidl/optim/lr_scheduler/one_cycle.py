"""OneCycleLR: up and down once, momentum the other way round."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

from minidl.errors import ArgumentError
from minidl.optim.lr_scheduler.base import LRScheduler, check_momentum, each_group, set_momentum
from minidl.optim.optimizer import Optimizer

__all__ = ["OneCycleLR"]


class OneCycleLR(LRScheduler):
    """From max_lr / div_factor up to max_lr, then down to that start / final_div_factor. Step it after every batch.

    Args:
        max_lr: the highest rate; a list gives each group its own.
        total_steps: length of the cycle; or give `epochs` and `steps_per_epoch`.
        pct_start: share of the cycle that goes up.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: move momentum (Adam: the first beta) from max_momentum to base_momentum and back.
        three_phase: go down to the starting rate as long as up, and only then to the end.

    Source: Smith and Topin, arXiv:1708.07120.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ArgumentError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if total_steps < 1 or not 0 <= pct_start <= 1:
            raise ArgumentError(
                f"OneCycleLR: total_steps must be 1 or more and pct_start from 0 to 1, got {total_steps}, {pct_start}"
            )
        if anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(f"OneCycleLR: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
        check_momentum("OneCycleLR", optimizer, cycle_momentum)
        groups = len(optimizer.param_groups)
        self.total_steps, self.anneal_strategy, self.cycle_momentum = total_steps, anneal_strategy, cycle_momentum
        self.final_div_factor, self.three_phase = final_div_factor, three_phase
        self.max_lrs = each_group("OneCycleLR", "max_lr", max_lr, groups)
        self.base_momenta = each_group("OneCycleLR", "base_momentum", base_momentum, groups)
        self.max_momenta = each_group("OneCycleLR", "max_momentum", max_momentum, groups)
        # The steps at which a new phase begins, and the last one.
        top = pct_start * total_steps - 1
        self.corners = [0, top, 2 * top, total_steps - 1] if three_phase else [0, top, total_steps - 1]
        if last_epoch == -1:
            for group, highest in zip(optimizer.param_groups, self.max_lrs, strict=True):
                group["initial_lr"] = highest / div_factor
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        # One more than there are: loops call step() after the last batch too.
        if self.last_epoch > self.total_steps:
            raise ArgumentError(
                f"OneCycleLR: the cycle has {self.total_steps} steps, and step() was called {self.last_epoch} times"
            )
        return [
            self._between([start, top, *[start] * self.three_phase, start / self.final_div_factor])
            for start, top in zip(self.base_lrs, self.max_lrs, strict=True)
        ]

    def go_to(self, epoch: int) -> None:
        super().go_to(epoch)
        if self.cycle_momentum:
            groups = zip(self.optimizer.param_groups, self.base_momenta, self.max_momenta, strict=True)
            for group, low, high in groups:
                set_momentum(group, self._between([high, low, *[high] * self.three_phase, high]))

    def _between(self, heights: Sequence[float]) -> float:
        """The value now of what has `heights` at the corners."""
        phase = min(bisect_left(self.corners, self.last_epoch, lo=1), len(self.corners) - 1) - 1
        (begin, end), (first, last) = self.corners[phase : phase + 2], heights[phase : phase + 2]
        done = (self.last_epoch - begin) / (end - begin) if end != begin else 1.0
        if self.anneal_strategy == "linear":
            return first + (last - first) * done
        return last + (first - last) * (1 + math.cos(math.pi * done)) / 2
