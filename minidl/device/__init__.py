"""Arrays, element types, memory, threads and kernel compilers: all that depends on the machine."""

from minidl.device.background import set_compile
from minidl.device.compile import Kernel, kernel, kernels
from minidl.device.cuda import CudaKernels
from minidl.device.determinism import use_deterministic
from minidl.device.device import CPU, Array, Device, device, device_of, to_device
from minidl.device.gpu import cuda_status, gpu_name
from minidl.device.inline import by_dtype, inline, intrinsic
from minidl.device.memory import empty, poisoned_memory
from minidl.device.numba_status import numba_status, use_numba
from minidl.device.threads import block_count, get_num_threads, parallel, set_num_threads

__all__ = [
    "CPU",
    "Array",
    "CudaKernels",
    "Device",
    "Kernel",
    "block_count",
    "by_dtype",
    "cuda_status",
    "device",
    "device_of",
    "empty",
    "get_num_threads",
    "gpu_name",
    "inline",
    "intrinsic",
    "kernel",
    "kernels",
    "numba_status",
    "parallel",
    "poisoned_memory",
    "set_compile",
    "set_num_threads",
    "to_device",
    "use_deterministic",
    "use_numba",
]


def numba_enabled() -> bool:
    return numba_status().usable
