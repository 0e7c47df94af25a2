"""Where networks compute, and the one place where arrays cross from the host to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import minidl
from medapps.errors import InputError
from minidl import Tensor, nn
from minidl.device import CPU, Device

__all__ = ["choose_device", "device_name", "home", "on"]

_CHOICES = ("cpu", "cuda", "auto")


def choose_device(name: str | Device) -> Device:
    """The device called `name`: "cpu", "cuda", or "auto", which is "cuda" where it can be used.

    Raises:
        InputError: for another name. DeviceError: if "cuda" cannot be used; the sentence says why.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if isinstance(name, Device):
        return name
    if name not in _CHOICES:
        raise InputError(f"device: must be {', '.join(_CHOICES[:-1])} or {_CHOICES[-1]}, got {name!r}")
    if name == "auto":
        name = "cuda" if minidl.cuda.is_available() else "cpu"
    return minidl.device(name)


def device_name(device: Device) -> str:
    """What a run's record calls a device: "cpu", or "cuda:0" and what the GPU calls itself."""
    return str(device) if device == CPU else f"{device}, {minidl.cuda.get_device_name()}"


def home(model: nn.Module) -> Device:
    """Where a network's weights are; the CPU for one that has none."""
    return next((p.device for p in model.parameters()), CPU)


def on(device: Device, array: NDArray[Any]) -> Tensor:
    """`array` as a contiguous tensor on `device`, not copied where it is so already; `Tensor.numpy` is the way back."""
    return minidl.from_numpy(np.asarray(array, order="C")).to(device)
