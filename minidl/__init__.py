"""minidl: a readable neural-network engine on NumPy, under PyTorch's names."""

from typing import TYPE_CHECKING, Any

from minidl import autograd, cuda, func, linalg, nn, ops, optim, special, utils
from minidl.autograd import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from minidl.core import Tensor, as_tensor, is_recording, recording, tensor, use_kernel
from minidl.create import (
    arange,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    linspace,
    logspace,
    ones,
    ones_like,
    scalar_tensor,
    tril_indices,
    triu_indices,
    zeros,
    zeros_like,
)
from minidl.device import device, get_num_threads, set_compile, set_num_threads, use_deterministic, use_numba
from minidl.device import dtypes
from minidl.device.dtypes import (
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from minidl.ops import *
from minidl.random import Generator, default_generator, initial_seed, manual_seed, rand, randint, randn, randperm

if TYPE_CHECKING:
    from minidl.io import load, save

__version__ = "0.1.0"

# PyTorch's short names of element types.
half, float, double = float16, float32, float64
short, int, long, bool = int16, int32, int64, bool_

__all__ = [
    "Generator", "Tensor", "arange", "as_tensor", "autograd", "bfloat16", "bool", "bool_", "cuda", "default_generator", "device",
    "double", "empty", "empty_like", "enable_grad", "eye", "float", "float16", "float32", "float64", "from_numpy",
    "full", "full_like", "func", "get_num_threads", "half", "inference_mode", "initial_seed", "int", "int8", "int16",
    "int32", "int64", "is_grad_enabled", "is_inference_mode_enabled", "is_recording", "linalg", "linspace", "load",
    "logspace", "long", "manual_seed", "nn", "no_grad", "ones", "ones_like", "ops", "optim", "rand", "randint",
    "randn", "randperm", "recording", "save", "scalar_tensor", "set_compile", "set_grad_enabled", "set_num_threads",
    "short", "special", "tensor", "tril_indices", "triu_indices", "uint8", "uint16", "uint32", "uint64",
    "use_deterministic", "use_kernel", "use_numba", "utils", "zeros", "zeros_like",
]  # fmt: skip
__all__ += ops.__all__


def __getattr__(name: str) -> Any:
    """`save` and `load` bring in what reading files needs, a fifth of the time of the import; `bfloat16` its package."""
    if name in ("load", "save"):
        from minidl import io

        return getattr(io, name)
    if name == "bfloat16":
        return dtypes.bfloat16
    raise AttributeError(f"module 'minidl' has no attribute {name!r}")
