"""Arrays, element types, memory, threads and kernel compilers: all that depends on the machine."""

from minidl.device.device import CPU, Array, Device, cuda_status, device, device_of, to_device
from minidl.device.memory import empty, poisoned_memory

__all__ = ["CPU", "Array", "Device", "cuda_status", "device", "device_of", "empty", "poisoned_memory", "to_device"]


def numba_enabled() -> bool:
    return False
