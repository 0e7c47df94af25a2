"""Every error that medapps raises on purpose.

    MedappsError
    |-- InputError       (ValueError)  what the user gave cannot be used: one sentence that says why and what to do
    |   `-- ImageError                 an image file that cannot be read
    `-- OutputError      (OSError)     a result that could not be written

The command line prints the sentence and exits with code 2.
"""

from __future__ import annotations

__all__ = ["ImageError", "InputError", "MedappsError", "OutputError"]


class MedappsError(Exception):
    """Base of all errors raised by medapps."""


class InputError(MedappsError, ValueError):
    """Something the user gave that cannot be used."""


class ImageError(InputError):
    """An image file that cannot be read."""


class OutputError(MedappsError, OSError):
    """A result that could not be written."""
