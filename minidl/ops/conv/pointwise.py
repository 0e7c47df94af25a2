"""Windows of one pixel: a plain product of pixels and filters, which is made as such (`ops/matmul/cpu.py`).

With a stride only some pixels are seen: they are copied side by side first, or, in the input gradient, spread over an
image of zeros afterwards.

2·N·K·OH·OW·C operations on N·C·OH·OW + N·K·OH·OW + K·C numbers.
"""

from __future__ import annotations

import math

from minidl.core import Array
from minidl.device import CPU, empty
from minidl.ops.conv.epilogue import Epilogue
from minidl.ops.matmul.cpu import product
from minidl.ops.matmul.finish import NONE, RELU
from minidl.ops.windows import Sizes


def is_pointwise(weight: Sizes, padding: Sizes, groups: int) -> bool:
    """Whether windows are single pixels of the image, each with all channels."""
    return groups == 1 and math.prod(weight[2:]) == 1 and not any(padding)


def convolve(out: Array, x: Array, weight: Array, epilogue: Epilogue, stride: Sizes) -> None:
    """x (N, *space, C) with weight (K, C, 1, ...) to out (N, *windows, K)."""
    _multiply(out, seen(x, stride), weight.reshape(weight.shape[:2]).T, epilogue)


def convolve_back(out: Array, g: Array, weight: Array, epilogue: Epilogue, stride: Sizes) -> None:
    """The adjoint of `convolve` in its image: out (N, *space, C)."""
    lines = weight.reshape(weight.shape[:2])
    if max(stride) == 1:
        _multiply(out, g, lines, epilogue)
        return
    some = empty(CPU, (*g.shape[:-1], out.shape[-1]), out.dtype)
    _multiply(some, g, lines, Epilogue())
    out[...] = 0
    out[(slice(None), *[slice(None, None, s) for s in stride])] = some
    epilogue.apply(out)


def weight_gradient(out: Array, x: Array, g: Array, stride: Sizes) -> None:
    """The adjoint of `convolve` in its weight: out (K, C, 1, ...)."""
    if not g.size:
        out[...] = 0
        return
    x = seen(x, stride)
    product(out.reshape(out.shape[:2]), g.reshape(-1, g.shape[-1]).T, x.reshape(-1, x.shape[-1]))


def seen(x: Array, stride: Sizes) -> Array:
    """The pixels of an image (N, *space, C) that windows lie on."""
    if max(stride) == 1:
        return x
    some = x[(slice(None), *[slice(None, None, s) for s in stride])]
    copy = empty(CPU, some.shape, x.dtype)
    copy[...] = some
    return copy


def _multiply(out: Array, x: Array, y: Array, epilogue: Epilogue) -> None:
    added = None if epilogue.residual is None else epilogue.residual.reshape(-1, out.shape[-1])
    activation = RELU if epilogue.activation == "relu" else NONE
    product(out.reshape(-1, out.shape[-1]), x.reshape(-1, x.shape[-1]), y, epilogue.bias, activation, added=added)
