"""Schedules that are one formula of the epoch."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence

from minidl.errors import ArgumentError
from minidl.optim.lr_scheduler.base import LRScheduler, check_at_least_one
from minidl.optim.optimizer import Optimizer

__all__ = [
    "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "ExponentialLR", "LambdaLR", "LinearLR",
    "MultiStepLR", "MultiplicativeLR", "PolynomialLR", "StepLR",
]  # fmt: skip


class LambdaLR(LRScheduler):
    """The base rate times `lr_lambda(epoch)`; a list gives each group a function of its own.

    >>> from minidl import optim, zeros
    >>> optimizer = optim.SGD([zeros(1)], lr=0.5)
    >>> LambdaLR(optimizer, lambda epoch: 1 / (epoch + 2)).get_last_lr()
    [0.25]
    """

    not_saved = ("optimizer", "lr_lambdas")

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self.lr_lambdas = _a_function_each("LambdaLR", optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [lr * factor(self.last_epoch) for lr, factor in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class MultiplicativeLR(LRScheduler):
    """The rate before times `lr_lambda(epoch)`, in every epoch from 1 on; a list gives each group its own function."""

    not_saved = ("optimizer", "lr_lambdas")

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self.lr_lambdas = _a_function_each("MultiplicativeLR", optimizer, lr_lambda)
        self.multiplied = 0  # the epoch up to which the products go
        self.products = [1.0] * len(self.lr_lambdas)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self.last_epoch < self.multiplied:
            self.multiplied, self.products = 0, [1.0] * len(self.lr_lambdas)
        while self.multiplied < self.last_epoch:
            self.multiplied += 1
            self.products = [p * f(self.multiplied) for p, f in zip(self.products, self.lr_lambdas, strict=True)]
        return [lr * product for lr, product in zip(self.base_lrs, self.products, strict=True)]


def _a_function_each(
    scheduler: str, optimizer: Optimizer, given: Callable[[int], float] | Sequence[Callable[[int], float]]
) -> list[Callable[[int], float]]:
    """A function for each group."""
    groups = len(optimizer.param_groups) if isinstance(optimizer, Optimizer) else 1
    functions = [given] * groups if callable(given) else list(given)
    if len(functions) != groups:
        raise ArgumentError(f"{scheduler}: needs a function for each of {groups} groups, got {len(functions)}")
    return functions


class StepLR(LRScheduler):
    """The base rate times `gamma` for every `step_size` epochs that have gone by."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        check_at_least_one("StepLR", "step_size", step_size)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [lr * self.gamma ** (self.last_epoch // self.step_size) for lr in self.base_lrs]


class MultiStepLR(LRScheduler):
    """The base rate times `gamma` for each of the `milestones` (epochs) reached."""

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [lr * self.gamma ** bisect_right(self.milestones, self.last_epoch) for lr in self.base_lrs]


class ExponentialLR(LRScheduler):
    """The base rate times `gamma` for every epoch that has gone by."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [lr * self.gamma**self.last_epoch for lr in self.base_lrs]


class LinearLR(LRScheduler):
    """From `start_factor` to `end_factor` times the base rate in `total_iters` epochs, and constant from there."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ArgumentError(f"LinearLR: start_factor must be above 0 and at most 1, got {start_factor}")
        if not 0 <= end_factor <= 1:
            raise ArgumentError(f"LinearLR: end_factor must be from 0 to 1, got {end_factor}")
        check_at_least_one("LinearLR", "total_iters", total_iters)
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        done = min(self.last_epoch, self.total_iters) / self.total_iters
        return [lr * (self.start_factor + (self.end_factor - self.start_factor) * done) for lr in self.base_lrs]


class ConstantLR(LRScheduler):
    """`factor` times the base rate for `total_iters` epochs, and the base rate from there."""

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        if not 0 <= factor <= 1:
            raise ArgumentError(f"ConstantLR: factor must be from 0 to 1, got {factor}")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [lr * (self.factor if self.last_epoch < self.total_iters else 1.0) for lr in self.base_lrs]


class PolynomialLR(LRScheduler):
    """The base rate times (1 - epoch / total_iters)^power, and 0 from `total_iters` on."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        check_at_least_one("PolynomialLR", "total_iters", total_iters)
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        left = 1.0 - min(self.last_epoch, self.total_iters) / self.total_iters
        return [lr * left**self.power for lr in self.base_lrs]


class CosineAnnealingLR(LRScheduler):
    """Half a wave of the cosine from the base rate to `eta_min` in `T_max` epochs, and back in as many.

    Source: Loshchilov and Hutter, ICLR 2017, eq. 5, without restarts.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        check_at_least_one("CosineAnnealingLR", "T_max", T_max)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        height = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (lr - self.eta_min) * height for lr in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a wave of the cosine from the base rate to `eta_min` in T_0 epochs, then again in T_0 * T_mult, and so on.

    `step(epoch)` takes fractions of epochs: step(epoch + batch / batches) after each batch.

    Source: Loshchilov and Hutter, ICLR 2017, eq. 5.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        check_at_least_one("CosineAnnealingWarmRestarts", "T_0", T_0)
        check_at_least_one("CosineAnnealingWarmRestarts", "T_mult", T_mult)
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        self.T_i, self.T_cur = T_0, float(last_epoch)  # length of the wave of now, and how far it is gone
        super().__init__(optimizer, last_epoch)

    def step(self, epoch: float | None = None) -> None:
        """Go to the next epoch, or to the one that is given."""
        if epoch is not None and epoch < 0:
            raise ArgumentError(f"CosineAnnealingWarmRestarts: epoch must be 0 or more, got {epoch}")
        self.go_to(self.last_epoch + 1 if epoch is None else epoch)

    def go_to(self, epoch: float) -> None:
        self.T_i, self.T_cur = self.T_0, epoch
        while self.T_cur >= self.T_i:
            self.T_cur -= self.T_i
            self.T_i *= self.T_mult
        super().go_to(math.floor(epoch))

    def get_lr(self) -> list[float]:
        height = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (lr - self.eta_min) * height for lr in self.base_lrs]
