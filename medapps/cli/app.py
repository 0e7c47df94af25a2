"""The command and its group `train`, to which the verbs are added."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from medapps import NOTICE

__all__ = ["Device", "app", "train"]

_PLAIN: dict[str, Any] = {"rich_markup_mode": None, "add_completion": False, "no_args_is_help": True}
app = typer.Typer(
    help=f"Medical-image applications: train, judge, predict, report.\n\n{NOTICE}",
    pretty_exceptions_enable=False,
    **_PLAIN,
)
train = typer.Typer(help="Train a model on labelled images.", **_PLAIN)
app.add_typer(train, name="train")
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, or auto: cuda where it can be used.")]


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    pass  # main() takes --debug off, wherever it stands
