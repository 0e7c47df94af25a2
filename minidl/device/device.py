"""Devices: where arrays live, and the array module that works on them there.

The only module that imports CuPy, and only when somebody asks for CUDA.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from minidl.errors import DeviceError

# A NumPy or CuPy array. CuPy ships no types, and the two share one interface.
Array: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Device:
    """A place for arrays: the CPU, or one CUDA device."""

    type: str
    index: int | None = None

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return (
            f"device(type={self.type!r})" if self.index is None else f"device(type={self.type!r}, index={self.index})"
        )

    @property
    def xp(self) -> ModuleType:
        """The array module of this device: numpy or cupy."""
        return np if self.type == "cpu" else _cupy()


CPU = Device("cpu")


def device(spec: str | Device, index: int | None = None) -> Device:
    """The device named `spec`: "cpu", "cuda" or "cuda:1".

    Raises:
        DeviceError: for another name, or when CUDA cannot be used; the sentence says why.

    >>> device("cpu")
    device(type='cpu')
    """
    if isinstance(spec, Device):
        return spec
    kind, _, number = spec.partition(":")
    if kind == "cpu" and not number:
        return CPU
    if kind == "cuda" and (not number or number.isdigit()):
        if reason := cuda_status():
            raise DeviceError(f"device: {spec!r} cannot be used: {reason}")
        return Device("cuda", int(number) if number else index or 0)
    raise DeviceError(f"device: there is no device {spec!r}; known: 'cpu', 'cuda', 'cuda:0', ...")


def device_of(array: Array) -> Device:
    """The device on which `array` lives."""
    if isinstance(array, (np.ndarray, np.generic)):
        return CPU
    return Device("cuda", int(array.device.id))


def to_device(array: Array, target: Device) -> Array:
    """`array` on `target`; the same object if it is there already."""
    source = device_of(array)
    if source == target:
        return array
    if target.type == "cpu":
        return _cupy().asnumpy(array)
    cupy = _cupy()
    with cupy.cuda.Device(target.index or 0):
        return cupy.asarray(array)


@functools.cache
def cuda_status() -> str | None:
    """None if a CUDA device can be used, else one clause that says why not."""
    try:
        cupy = _cupy()
    except DeviceError as error:
        return str(error)
    if not cupy.cuda.is_available():
        return "CuPy is installed, but no CUDA device or driver was found"
    return None


@functools.cache
def _cupy() -> ModuleType:
    try:
        import cupy
    except ImportError as error:
        raise DeviceError('CuPy is not installed; pip install "minidl[cuda12]" or "minidl[cuda13]"') from error
    return cupy  # type: ignore[no-any-return]
