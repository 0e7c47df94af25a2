"""Devices: where arrays live, and the array module that works on them there."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from minidl.device import gpu
from minidl.errors import DeviceError

# A NumPy or CuPy array. CuPy ships no types, and the two share one interface.
Array: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Device:
    """A place for arrays: the CPU, or the CUDA device."""

    type: str
    index: int | None = None

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return (
            f"device(type={self.type!r})" if self.index is None else f"device(type={self.type!r}, index={self.index})"
        )

    @property
    def xp(self) -> Any:
        """The array module of this device: numpy or cupy."""
        return np if self.type == "cpu" else gpu.cupy()


CPU = Device("cpu")
_gpu = functools.cache(functools.partial(Device, "cuda"))


def device(spec: str | Device) -> Device:
    """The device named `spec`: "cpu", or "cuda", which is "cuda:0": the first GPU that CUDA shows.

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
        if reason := gpu.cuda_status():
            raise DeviceError(f"device: {spec!r} cannot be used: {reason}")
        if int(number or 0) > 0:
            raise DeviceError(f"device: {spec!r} cannot be used: one process uses one GPU, 'cuda'; "
                              f"choose which by setting CUDA_VISIBLE_DEVICES={number}")  # fmt: skip
        return _gpu(0)
    raise DeviceError(f"device: there is no device {spec!r}; known: 'cpu' and 'cuda'")


def device_of(array: Array) -> Device:
    """The device on which `array` lives."""
    if isinstance(array, (np.ndarray, np.generic)):
        return CPU
    return _gpu(int(array.device.id))


def to_device(array: Array, target: Device) -> Array:
    """`array` on `target`; the same object if it is there already."""
    source = device_of(array)
    if source == target:
        return array
    return gpu.cupy().asnumpy(array) if target.type == "cpu" else gpu.cupy().asarray(array)
