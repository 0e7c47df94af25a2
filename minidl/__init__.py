"""minidl: a readable neural-network engine on NumPy, under PyTorch's names."""

from minidl import nn, ops, optim
from minidl.core import Tensor, as_tensor, is_recording, recording, tensor, use_kernel
from minidl.core.grad_mode import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from minidl.create import (
    arange,
    empty,
    eye,
    from_numpy,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    zeros,
    zeros_like,
)  # fmt: skip
from minidl.device import device, get_num_threads, set_num_threads, use_numba
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
)  # fmt: skip
from minidl.io import load, save
from minidl.ops import *
from minidl.random import Generator, default_generator, initial_seed, manual_seed, rand, randint, randn, randperm

__version__ = "0.1.0"
