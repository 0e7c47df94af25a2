"""Values of PyTorch as ours: tensors with their strides, element types, sizes, and whatever holds them."""

from __future__ import annotations

from typing import Any

import numpy as np

import minidl
from minidl import Tensor
from minidl.nn import functional as F
from tests.minidl.oracle.pytorch import torch

DTYPES = {
    torch.float16: np.float16, torch.float32: np.float32, torch.float64: np.float64, torch.int8: np.int8,
    torch.int16: np.int16, torch.int32: np.int32, torch.int64: np.int64, torch.uint8: np.uint8, torch.bool: np.bool_,
    torch.bfloat16: minidl.bfloat16,
}  # fmt: skip


class NotHere(Exception):
    """A kind of value that has no counterpart; the sentence says which."""


# PyTorch's list names the draws that fill a tensor without their underscore.
FILLS = {name.removesuffix("_") for name in minidl.draws.__all__} - set(minidl.draws.__all__)


def find(name: str) -> Any:
    """Our function of PyTorch's name: "nn.functional.relu", "linalg.det", or a method; None if there is none."""
    thing: Any = minidl
    name = f"{name}_" if name in FILLS else name
    for part in name.split("."):
        thing = getattr(thing, part, None)
    if callable(thing) and not isinstance(thing, type):
        return thing
    method = getattr(Tensor, name, None)
    if isinstance(method, property):
        return method.fget
    return method


def ours(value: Any, seen: dict[int, Tensor] | None = None) -> Any:
    """`value` with everything of PyTorch's replaced by ours; tensors are copied, and keep `requires_grad`.

    Args:
        seen: our tensors by the identity of PyTorch's, so that one tensor that stands twice stays one.
    """
    seen = {} if seen is None else seen
    if isinstance(value, torch.Tensor):
        if id(value) not in seen:
            seen[id(value)] = _tensor(value)
        return seen[id(value)]
    if isinstance(value, torch.dtype):
        if value not in DTYPES:
            raise NotHere(f"{str(value).removeprefix('torch.')} is no element type here")
        return np.dtype(DTYPES[value])
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, (torch.memory_format, torch.layout)):
        raise NotHere("memory formats and layouts are not an argument here: strides are NumPy's")
    if isinstance(value, torch.Generator):
        raise NotHere("PyTorch's generator gives PyTorch's numbers")
    if isinstance(value, torch.nn.TransformerEncoderLayer):
        return _encoder_layer(value)
    if callable(value) and hasattr(F, getattr(value, "__name__", "")):
        return getattr(F, value.__name__)
    if isinstance(value, complex):
        raise NotHere("complex numbers are not here")
    if isinstance(value, dict):
        return {key: ours(item, seen) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(ours(item, seen) for item in value))
    if isinstance(value, (list, tuple)):
        return type(value)(ours(item, seen) for item in value)
    return value


def _encoder_layer(layer: Any) -> Any:
    return minidl.nn.TransformerEncoderLayer(
        layer.linear1.in_features, layer.self_attn.num_heads, layer.linear1.out_features, layer.dropout.p,
        ours(layer.activation), layer.norm1.eps, layer.self_attn.batch_first, layer.norm_first,
        layer.linear1.bias is not None,
    )  # fmt: skip


def _tensor(t: torch.Tensor) -> Tensor:
    if t.dtype.is_complex:
        raise NotHere("complex numbers are not here")
    if t.layout != torch.strided:
        raise NotHere("sparse tensors are not here")
    if t.ndim > 64:
        raise NotHere("NumPy's arrays have at most 64 dimensions")
    ours(t.dtype)
    return Tensor.of(np.array(array_of(t), order="K")).requires_grad_(t.requires_grad)


def array_of(t: torch.Tensor) -> np.ndarray:
    """The numbers of a tensor of PyTorch's, which gives bfloat16 to nobody."""
    if t.dtype == torch.bfloat16:
        return t.detach().float().numpy(force=True).astype(minidl.bfloat16)
    return t.detach().numpy(force=True)


def tensors(value: Any, kind: type) -> list[Any]:
    """Every tensor of `kind` in `value`, in order."""
    if isinstance(value, kind):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [t for item in value for t in tensors(item, kind)]
    return []
