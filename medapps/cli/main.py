"""Running a command, and saying in one sentence what stopped it."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

import typer

from medapps.cli.app import app
from medapps.cli.shown import complain
from medapps.errors import MedappsError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and leave with its exit code: 0, 2 for bad input, 130 for Ctrl-C, 1 for a fault of ours."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        # Outside standalone mode typer returns the code of an Exit, or None; it turns Ctrl-C into an Exit(130).
        code = typer.main.get_command(app)([a for a in given if a != "--debug"], "medapps", standalone_mode=False)
        if code == 130:
            raise KeyboardInterrupt
        sys.stdout.flush()
    except BaseException as error:
        if debug and not isinstance(error, SystemExit):
            raise
        code = _explain(error)
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: BaseException) -> int:
    """Say in one sentence what stopped the command; the exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 0
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        complain("stopped by Ctrl-C; what was written is whole, and `medapps train ... --resume` goes on from it")
        return 130
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at exit
        return 141
    if hasattr(error, "format_message"):  # click's usage errors, whichever click typer carries
        complain(f"{error.format_message()} (see `medapps --help`)")
        return 2
    return _explain_fault(error)


def _explain_fault(error: BaseException) -> int:
    from minidl.errors import MinidlError

    if isinstance(error, MedappsError | MinidlError):
        complain(str(error))
    elif isinstance(error, OSError):
        full = "; free some space or choose another place" if error.errno == errno.ENOSPC else ""
        complain(f"{error.filename or 'a file'}: {error.strerror or error}{full}")
    elif isinstance(error, ModuleNotFoundError) and error.name:
        complain(f"the package {error.name.split('.')[0]} is missing; pip install 'minidl[med]'")
    elif isinstance(error, MemoryError):
        complain("the memory of this machine does not suffice; try a smaller --batch-size or --image-size")
    else:
        complain(f"a fault in medapps ({type(error).__name__}: {error}); run again with --debug and report it")
        return 1
    return 2
