"""Every error that minidl raises on purpose.

    MinidlError
    |-- ShapeError       (ValueError)    shapes or sizes that do not fit
    |-- DTypeError       (TypeError)     an element type an op does not take
    |-- DeviceError      (RuntimeError)  a device that is not there, or arrays on two devices
    |-- GradError        (RuntimeError)  a backward pass that cannot be run
    |   `-- AnomalyError                 a number that is not finite, found by anomaly mode
    |-- KernelError      (RuntimeError)  a kernel that is missing, does not compile, or is wrong
    |-- FileFormatError  (ValueError)    a file that is damaged or of another kind
    |-- ArgumentError    (ValueError)    an argument outside of what is allowed
    `-- StateDictError   (RuntimeError)  a state_dict that does not fit the network or the optimizer

Each is one sentence: what was given, what is needed, and the way out.
"""

from __future__ import annotations

__all__ = [
    "AnomalyError", "ArgumentError", "DTypeError", "DeviceError", "FileFormatError", "GradError", "KernelError",
    "MinidlError", "ShapeError", "StateDictError",
]  # fmt: skip


class MinidlError(Exception):
    """Base of all errors raised by minidl."""


class ShapeError(MinidlError, ValueError):
    """Shapes or sizes that do not fit together."""


class DTypeError(MinidlError, TypeError):
    """An element type that an op does not take."""


class DeviceError(MinidlError, RuntimeError):
    """A device that is not there, or arrays that live on two devices."""


class GradError(MinidlError, RuntimeError):
    """A backward pass that cannot be run."""


class AnomalyError(GradError):
    """A NaN or an infinity, found where it was born."""


class KernelError(MinidlError, RuntimeError):
    """A kernel that is missing, does not compile, or disagrees with its reference."""


class FileFormatError(MinidlError, ValueError):
    """A file that is damaged, or not of the kind that was expected."""


class ArgumentError(MinidlError, ValueError):
    """An argument whose value is outside of what is allowed."""


class StateDictError(MinidlError, RuntimeError):
    """A state_dict that does not fit the network or the optimizer it is loaded into."""
