"""The command `medapps`: verbs that read like sentences, each a thin wrapper of the Python function of the same name.

What goes wrong with the input is one sentence on standard error and exit code 2; `--debug` shows the traceback. Nothing
heavy is imported before a verb runs, so that `medapps --help` answers at once.
"""

from medapps.cli import train, verbs
from medapps.cli.app import app
from medapps.cli.main import main

__all__ = ["app", "main", "train", "verbs"]
