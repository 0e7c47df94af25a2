"""Every error that medapps raises on purpose.

    MedappsError
    |-- InputError       (ValueError)  what the user gave cannot be used: one sentence that says why and what to do
    |   |-- DivergedError              a training whose loss is no longer a number
    |   `-- ImageError                 an image file that cannot be read
    `-- OutputError      (OSError)     a result that could not be written

The command line prints the sentence and exits with code 2.
"""

from __future__ import annotations

__all__ = ["DivergedError", "ImageError", "InputError", "MedappsError", "OutputError"]


class MedappsError(Exception):
    """Base of all errors raised by medapps."""


class InputError(MedappsError, ValueError):
    """Something the user gave that cannot be used."""


class DivergedError(InputError):
    """A training whose loss is no longer a number: its learning rate is too high."""


class ImageError(InputError):
    """An image file that cannot be read."""


class OutputError(MedappsError, OSError):
    """A result that could not be written."""
