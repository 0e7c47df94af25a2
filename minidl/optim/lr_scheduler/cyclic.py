"""CyclicLR: up and down again and again, momentum the other way round."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from minidl.errors import ArgumentError
from minidl.optim.lr_scheduler.base import LRScheduler, check_at_least_one, check_momentum, each_group, set_momentum
from minidl.optim.optimizer import Optimizer

__all__ = ["CyclicLR"]

_MODES = ("triangular", "triangular2", "exp_range")


class CyclicLR(LRScheduler):
    """From base_lr to max_lr in `step_size_up` steps, and back in `step_size_down`. Step it after every batch.

    Args:
        base_lr, max_lr: the lowest and the highest rate; a list gives each group its own.
        step_size_down: as many as up when None.
        mode: "triangular" for equal cycles, "triangular2" to halve the height with each, "exp_range" for a height of
            gamma^step.
        scale_fn: the height, instead of `mode`, as a function of the cycle, counted from 1.
        scale_mode: "cycle", or "iterations" to give `scale_fn` the number of the step instead.
        cycle_momentum: move momentum (Adam: the first beta) from max_momentum to base_momentum and back.

    Source: Smith, WACV 2017.
    """

    not_saved = ("optimizer", "scale_fn")

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | Sequence[float],
        max_lr: float | Sequence[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[int], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.8,
        max_momentum: float | Sequence[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        if mode not in _MODES and scale_fn is None:
            raise ArgumentError(f"CyclicLR: mode must be one of {', '.join(_MODES)}, got {mode!r}")
        if scale_mode not in ("cycle", "iterations"):
            raise ArgumentError(f"CyclicLR: scale_mode must be 'cycle' or 'iterations', got {scale_mode!r}")
        check_at_least_one("CyclicLR", "step_size_up", step_size_up)
        check_momentum("CyclicLR", optimizer, cycle_momentum)
        groups = len(optimizer.param_groups)
        self.up, self.total = step_size_up, step_size_up + (step_size_down or step_size_up)
        self.mode, self.gamma, self.scale_fn, self.scale_mode = mode, gamma, scale_fn, scale_mode
        self.max_lrs = each_group("CyclicLR", "max_lr", max_lr, groups)
        self.cycle_momentum = cycle_momentum
        self.base_momenta = each_group("CyclicLR", "base_momentum", base_momentum, groups)
        self.max_momenta = each_group("CyclicLR", "max_momentum", max_momentum, groups)
        if last_epoch == -1:
            lowest = each_group("CyclicLR", "base_lr", base_lr, groups)
            for group, rate in zip(optimizer.param_groups, lowest, strict=True):
                group["initial_lr"] = rate
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        height = self.height()
        return [low + (high - low) * height for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def go_to(self, epoch: int) -> None:
        super().go_to(epoch)
        if self.cycle_momentum:
            height = self.height()
            for group, low, high in zip(self.optimizer.param_groups, self.base_momenta, self.max_momenta, strict=True):
                set_momentum(group, high - (high - low) * height)

    def height(self) -> float:
        """How far above the base it is now, as a share of the whole way."""
        cycle = math.floor(1 + self.last_epoch / self.total)
        done, top = 1 + self.last_epoch / self.total - cycle, self.up / self.total
        return (done / top if done <= top else (done - 1) / (top - 1)) * self.scale(cycle)

    def scale(self, cycle: int) -> float:
        """The height of a cycle, or of this step."""
        if self.scale_fn is not None:
            return self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        return {"triangular": 1.0, "triangular2": 0.5 ** (cycle - 1), "exp_range": self.gamma**self.last_epoch}[
            self.mode
        ]
