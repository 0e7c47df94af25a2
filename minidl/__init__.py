"""minidl: a readable neural-network engine on NumPy, under PyTorch's names."""

from typing import TYPE_CHECKING, Any

from minidl import amp, autograd, cuda, draws, func, linalg, nn, ops, optim, special, utils
from minidl.amp import autocast, clear_autocast_cache, get_autocast_dtype, is_autocast_enabled
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
from minidl.device import device, dtypes, get_num_threads, set_compile, set_num_threads, use_deterministic, use_numba
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
from minidl.draws import *
from minidl.element_types import can_cast, finfo, iinfo, is_floating_point, promote_types, result_type
from minidl.ops import *
from minidl.random import Generator, default_generator, initial_seed, manual_seed, rand, randint, randn, randperm

if TYPE_CHECKING:
    from minidl.device.dtypes import bfloat16
    from minidl.io import load, save

__version__ = "0.1.0"

# PyTorch's short names of element types.
half, float, double = float16, float32, float64
short, int, long, bool = int16, int32, int64, bool_

__all__ = [
    "Generator",
    "Tensor",
    "amp",
    "arange",
    "as_tensor",
    "autocast",
    "autograd",
    "bfloat16",
    "bool",
    "bool_",
    "can_cast",
    "clear_autocast_cache",
    "cuda",
    "default_generator",
    "device",
    "double",
    "empty",
    "empty_like",
    "enable_grad",
    "eye",
    "finfo",
    "float",
    "float16",
    "float32",
    "float64",
    "from_numpy",
    "full",
    "full_like",
    "func",
    "get_autocast_dtype",
    "get_num_threads",
    "half",
    "iinfo",
    "inference_mode",
    "initial_seed",
    "int",
    "int8",
    "int16",
    "int32",
    "int64",
    "is_autocast_enabled",
    "is_floating_point",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "is_recording",
    "linalg",
    "linspace",
    "load",
    "logspace",
    "long",
    "manual_seed",
    "nn",
    "no_grad",
    "ones",
    "ones_like",
    "ops",
    "optim",
    "promote_types",
    "rand",
    "randint",
    "randn",
    "randperm",
    "recording",
    "result_type",
    "save",
    "scalar_tensor",
    "set_compile",
    "set_grad_enabled",
    "set_num_threads",
    "short",
    "special",
    "tensor",
    "tril_indices",
    "triu_indices",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "use_deterministic",
    "use_kernel",
    "use_numba",
    "utils",
    "zeros",
    "zeros_like",
]  # fmt: skip
__all__ += [*ops.__all__, *draws.__all__]


def __getattr__(name: str) -> Any:
    """What is loaded when it is asked for: what reading files needs is a fifth of the time of the import."""
    if name in ("load", "save"):
        from minidl import io

        return getattr(io, name)
    if name == "bfloat16":
        return dtypes.bfloat16
    raise AttributeError(f"module 'minidl' has no attribute {name!r}")
