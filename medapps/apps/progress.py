"""What training shows while it runs: a bar in a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TextIO

__all__ = ["BarProgress", "LineProgress", "training_progress"]


class LineProgress:
    """One plain line an epoch, for logs.

    part: what each line begins with, where several trainings follow each other.
    """

    def __init__(self, stream: TextIO, part: str = "") -> None:
        self.stream = stream
        self.part = part

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stream.flush()

    def start(self, epochs: int, done: int, steps: int) -> None:
        """Training of `epochs` epochs with `steps` steps each begins after `done` of them."""
        self.epochs = epochs

    def step(self, loss: float) -> None:
        """One more step was made; `loss` is the epoch's mean so far."""

    def epoch(self, row: Mapping[str, float], best: bool) -> None:
        """An epoch ended with the figures in `row`; `best`: better than all before."""
        print(
            f"{self.part}epoch {row['epoch']:>3}/{self.epochs}  {figures(row)}{'  best' if best else ''}",
            file=self.stream,
        )
        self.stream.flush()


class BarProgress(LineProgress):
    """A rich bar with loss, validation figures and time left."""

    def __init__(self, stream: TextIO, part: str = "") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        super().__init__(stream, part)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.fields[figures]}"),
            console=Console(file=stream),
            refresh_per_second=4,
        )

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bar.stop()

    def start(self, epochs: int, done: int, steps: int) -> None:
        self.epochs, self.done, self.validated = epochs, done, ""
        self.task = self.bar.add_task("", total=epochs * steps, completed=done * steps, figures="")
        self._name_epoch()

    def step(self, loss: float) -> None:
        self.bar.update(self.task, advance=1, figures=f"loss {loss:.3f}  {self.validated}")

    def epoch(self, row: Mapping[str, float], best: bool) -> None:
        self.done = int(row["epoch"])
        shown = [f"{name} {row[key]:.3f}" for key, name in _SHOWN.items() if key in row]
        self.validated = "  ".join(shown) + (" (best)" if best else "")
        self.bar.update(self.task, figures=f"loss {row['train_loss']:.3f}  {self.validated}")
        self._name_epoch()

    def _name_epoch(self) -> None:
        self.bar.update(self.task, description=f"{self.part}epoch {min(self.done + 1, self.epochs)}/{self.epochs}")


def training_progress(stream: TextIO | None = None, part: str = "") -> LineProgress:
    """The progress display that suits `stream` (standard error when None); each line begins with `part`."""
    stream = stream or sys.stderr
    return BarProgress(stream, part) if stream.isatty() else LineProgress(stream, part)


_SHOWN = {"val_auc": "auc", "val_accuracy": "accuracy", "val_dice": "dice"}


def figures(row: Mapping[str, Any]) -> str:
    """The figures of an epoch in one line."""
    shown = "".join(f"{name} {row[key]:.4f}  " for key, name in _SHOWN.items() if key in row)
    return f"loss {row['train_loss']:.3f}  val loss {row['val_loss']:.3f}  {shown}{row['seconds']:.1f} s"
