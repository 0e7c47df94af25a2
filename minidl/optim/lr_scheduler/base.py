"""LRScheduler: counts epochs and hands each group of the optimizer its learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from minidl.errors import ArgumentError, StateDictError
from minidl.optim.optimizer import Group, Optimizer

__all__ = ["LRScheduler"]


class LRScheduler:
    """Base of schedules; a subclass gives `get_lr`, the rates of epoch `self.last_epoch` from `self.base_lrs`.

    Args:
        optimizer: its groups' rates are set at once to those of the first epoch.
        last_epoch: number of the epoch before; -1 to start, in which case the groups' rates are the base.
    """

    # What state_dict leaves out: it belongs to the program, not to the run.
    not_saved: ClassVar[tuple[str, ...]] = ("optimizer",)

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError(f"{type(self).__name__}: needs an optimizer first, got {type(optimizer).__name__}")
        self.optimizer, self.last_epoch = optimizer, last_epoch
        for group in optimizer.param_groups:
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ArgumentError(
                    f"{type(self).__name__}: last_epoch {last_epoch} goes on from a run whose base rates are unknown; "
                    "load the optimizer's state first, or start with last_epoch=-1"
                )
        self.base_lrs: list[float] = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.step()

    def get_lr(self) -> list[float]:
        """The rate of each group in epoch `self.last_epoch`."""
        raise NotImplementedError(f"{type(self).__name__} has no get_lr()")

    def step(self) -> None:
        """Go to the next epoch; call it after the optimizer's steps of the last one."""
        self.go_to(self.last_epoch + 1)

    def go_to(self, epoch: int) -> None:
        """Set the rates of epoch number `epoch`, counted from 0."""
        self.last_epoch = epoch
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = rate

    def get_last_lr(self) -> list[float]:
        """The rate of each group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """All that the next rates depend on, as numbers and lists; functions are not saved."""
        return {key: value for key, value in vars(self).items() if key not in self.not_saved}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state given by `state_dict`. The optimizer's own state holds the rates of now.

        Raises:
            StateDictError: if it is the state of another schedule; nothing is changed then.
        """
        self.check_state(state_dict)
        vars(self).update(state_dict)

    def check_state(self, state_dict: Mapping[str, Any]) -> None:
        """Raise a StateDictError if `state_dict` is not a state of this kind of schedule."""
        expected = set(self.state_dict())
        if set(state_dict) != expected:
            raise StateDictError(
                f"{type(self).__name__}: the state must have the keys {', '.join(sorted(expected))}; "
                f"got {', '.join(sorted(map(str, state_dict))) or 'none'}"
            )


def check_at_least_one(scheduler: str, argument: str, value: int) -> None:
    if value < 1:
        raise ArgumentError(f"{scheduler}: {argument} must be 1 or more, got {value}")


def check_momentum(scheduler: str, optimizer: Optimizer, cycle_momentum: bool) -> None:
    """Raise an ArgumentError if there is no optimizer, or no momentum to be moved."""
    if not isinstance(optimizer, Optimizer):
        raise ArgumentError(f"{scheduler}: needs an optimizer first, got {type(optimizer).__name__}")
    if cycle_momentum and not {"momentum", "betas"} & set(optimizer.defaults):
        raise ArgumentError(f"{scheduler}: this optimizer has no momentum; pass cycle_momentum=False")


def each_group(scheduler: str, argument: str, value: float | Sequence[float], groups: int) -> list[float]:
    """One value for each group."""
    values = [float(value)] * groups if isinstance(value, (int, float)) else [float(v) for v in value]
    if len(values) != groups:
        raise ArgumentError(f"{scheduler}: {argument} must be one number or {groups}, one a group; got {len(values)}")
    return values


def set_momentum(group: Group, momentum: float) -> None:
    """Set the momentum of a group; for Adam and its kin the first beta."""
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum
