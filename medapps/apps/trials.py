"""Trials of a search over recipes: what each reached, which is best, and a table of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medapps.recipe import Recipe

__all__ = ["Trial", "Tuning", "best_trial"]


@dataclass
class Trial:
    """One recipe that is tried.

    reached: for each rung it was on, epochs so far, the best epoch among them and its validation figure.
    failed: why its training could not go on; empty when it could.
    """

    number: int
    recipe: Recipe
    reached: list[dict[str, float]] = field(default_factory=list)
    failed: str = ""

    def score(self, rung: int) -> tuple[float, int]:
        """For comparing trials after `rung`: the highest is best, and of equals the one drawn first."""
        if self.failed:
            return float("-inf"), -self.number
        value = self.reached[rung]["value"]
        return -value if self.recipe.select == "val_loss" else value, -self.number

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {
            "number": self.number,
            "recipe": self.recipe.to_dict(),
            "reached": self.reached,
            "failed": self.failed,
        }


@dataclass(frozen=True)
class Tuning:
    """What a search has found so far.

    trials: all of them; best: the one to take, None before any was measured; finished: nothing is left to do.
    """

    folder: Path
    trials: tuple[Trial, ...]
    best: Trial | None
    finished: bool

    def table(self) -> list[list[str]]:
        """A heading and a row for each trial, those that came furthest and are best first."""
        select = self.trials[0].recipe.select
        head = ["trial", "epochs", select, "lr", "decay", "dropout", "widths", "augment", ""]
        return [head, *(self._row(trial) for trial in sorted(self.trials, key=_rank, reverse=True))]

    def _row(self, trial: Trial) -> list[str]:
        last, r = trial.reached[-1] if trial.reached else None, trial.recipe
        return [
            str(trial.number),
            f"{last['epochs']}" if last else "0",
            f"{last['value']:.4f}" if last else "",
            f"{r.lr:g}",
            f"{r.weight_decay:g}",
            f"{r.dropout:g}",
            "-".join(map(str, r.widths)),
            _augmentation(r),
            trial.failed or ("best" if trial is self.best else ""),
        ]


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """Of the trials that came furthest, the one with the best figure; None before one was measured."""
    first = max(trials, key=_rank)
    return first if first.reached and not first.failed else None


def _rank(trial: Trial) -> tuple[bool, int, tuple[float, int]]:
    rungs = len(trial.reached)
    return not trial.failed, rungs, trial.score(-1) if rungs else (0.0, -trial.number)


def _augmentation(recipe: Recipe) -> str:
    """The names of the augmentations, each with its first number."""
    shown = []
    for step in recipe.augment:
        numbers = [v for name, v in step.items() if name != "p" and isinstance(v, float | int)]
        shown.append(f"{step['name']} {numbers[0]:g}" if numbers else str(step["name"]))
    return ", ".join(shown) or "none"
