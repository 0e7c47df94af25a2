"""Joining tensors: cat, stack, repeat."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from minidl.core import Array, Grads, Node, Op, Spec, Tensor, dim_index
from minidl.device import CudaKernels
from minidl.device.dtypes import promote
from minidl.errors import DTypeError, ShapeError
from minidl.ops.each import SMALL
from minidl.ops.line_loops import join_parts
from minidl.ops.views import expand, reshape, select

__all__ = ["cat", "repeat", "stack"]

CUDA = CudaKernels(__file__, "concat.cuh")


class Concat(Op):
    """One tensor behind the other along a dimension."""

    name = "cat"
    strided = moves = True

    @staticmethod
    def infer(*xs: Spec, dim: int) -> Spec:
        first = xs[0].shape
        for i, x in enumerate(xs):
            if x.ndim != len(first) or any(
                a != b for d, (a, b) in enumerate(zip(x.shape, first, strict=True)) if d != dim
            ):
                raise ShapeError(f"cat: tensor {i} has shape {x.shape}; beside {first} only dimension {dim} may differ")
        shape = (*first[:dim], sum(x.shape[dim] for x in xs), *first[dim + 1 :])
        return Spec(shape, promote(*[x.dtype for x in xs]))

    @staticmethod
    def reference(xp: Any, out: Array, *xs: Array, dim: int) -> None:
        start = 0
        for x in xs:
            stop = start + x.shape[dim]
            out[(slice(None),) * dim + (slice(start, stop),)] = x
            start = stop

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        alike = len({a.dtype for a in arrays}) == 1
        return alike and arrays[0].size >= SMALL and super().cpu_takes(arrays, params)

    @staticmethod
    def cpu(out: Array, *xs: Array, dim: int) -> None:
        join_parts(out, dim, xs, tuple([(0, x.shape[dim]) for x in xs]))

    @classmethod
    def cuda_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return len({a.dtype for a in arrays}) == 1 and super().cuda_takes(arrays, params)

    @staticmethod
    def cuda(out: Array, *xs: Array, dim: int) -> None:
        start = 0
        for x in xs:
            _copy_on_gpu(out, start, x, 0, dim, x.shape[dim])
            start += x.shape[dim]

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        dim = node.params["dim"]
        starts = [0]
        for spec in node.specs:
            starts.append(starts[-1] + spec.shape[dim])
        return tuple(
            Part.apply(g, dim=dim, start=start, length=spec.shape[dim]) if needed else None
            for start, spec, needed in zip(starts, node.specs, node.needs, strict=False)
        )


class Stack(Op):
    """Tensors of one shape side by side along a new dimension."""

    name = "stack"
    strided = moves = True

    @staticmethod
    def infer(*xs: Spec, dim: int) -> Spec:
        shape = xs[0].shape
        return Spec((*shape[:dim], len(xs), *shape[dim:]), promote(*[x.dtype for x in xs]))

    @staticmethod
    def reference(xp: Any, out: Array, *xs: Array, dim: int) -> None:
        for i, x in enumerate(xs):
            out[(slice(None),) * dim + (i,)] = x

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return Concat.cpu_takes(arrays, params)

    @staticmethod
    def cpu(out: Array, *xs: Array, dim: int) -> None:
        new = (slice(None),) * dim + (None,)
        join_parts(out, dim, [x[new] for x in xs], ((0, 1),) * len(xs))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        dim = node.params["dim"]
        return tuple([select(g, dim, i) if needed else None for i, needed in enumerate(node.needs)])


class Part(Op):
    """A stretch along a dimension, in memory of its own and in the order of memory that it had.

    As a view it would be copied by the kernel that takes it, and more slowly.
    """

    name = "part"
    moves = True
    strided = True

    @staticmethod
    def infer(x: Spec, *, dim: int, start: int, length: int) -> Spec:
        return x.with_shape(*x.shape[:dim], length, *x.shape[dim + 1 :])

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, dim: int, start: int, length: int) -> None:
        out[...] = x[(slice(None),) * dim + (slice(start, start + length),)]

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return arrays[0].size >= SMALL and params["length"] > 0 and super().cpu_takes(arrays, params)

    @staticmethod
    def cpu(out: Array, x: Array, *, dim: int, start: int, length: int) -> None:
        join_parts(out, dim, (x,), ((start, length),))

    @staticmethod
    def cuda(out: Array, x: Array, *, dim: int, start: int, length: int) -> None:
        _copy_on_gpu(out, 0, x, start, dim, length)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,), dim, start, length = node.specs, *node.params.values()
        pieces = [g]
        for at, more in ((0, start), (1, x.shape[dim] - start - length)):
            if more:
                shape = (*x.shape[:dim], more, *x.shape[dim + 1 :])
                pieces.insert(at * len(pieces), Tensor.of(g.device.xp.zeros(shape, g.dtype)))
        return (cat(pieces, dim) if len(pieces) > 1 else g,)


def _copy_on_gpu(to: Array, to_start: int, source: Array, start: int, dim: int, length: int) -> None:
    """`length` places along `dim` from one array into another."""
    inner = math.prod(to.shape[dim + 1 :])
    runs = [(a.shape[dim] * inner, first * inner) for a, first in ((to, to_start), (source, start))]
    count = math.prod(to.shape[:dim]) * length * inner
    CUDA.launch("copy_runs", count, to, source, length * inner, *runs[0], *runs[1])


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one behind the other along `dim`; all other lengths must agree.

    Raises:
        ShapeError: if they do not, or there is none.

    >>> cat([Tensor([[1.0], [2.0]]), Tensor([[3.0], [4.0]])], 1)
    tensor([[1., 3.],
            [2., 4.]])
    """
    if bad := [x for x in tensors if not isinstance(x, Tensor)]:
        raise DTypeError(f"cat: needs tensors, got {type(bad[0]).__name__}")
    if not len(tensors):
        raise ShapeError("cat: tensors must hold at least one tensor, got none")
    if any(x.ndim > 1 for x in tensors):  # as PyTorch has it, an empty row joins anything
        tensors = [x for x in tensors if x.shape != (0,)]
    if not tensors[0].ndim:
        raise ShapeError("cat: a tensor without dimensions cannot be joined; use stack")
    result: Tensor = Concat.apply(*tensors, dim=dim_index("cat", dim, tensors[0].ndim))
    return result


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape, joined along a new dimension `dim`."""
    if not len(tensors):
        raise ShapeError("stack: tensors must hold at least one tensor, got none")
    if any(t.shape != tensors[0].shape for t in tensors):
        raise ShapeError(f"stack: shapes must be equal, got {sorted({t.shape for t in tensors})}")
    result: Tensor = Stack.apply(*tensors, dim=dim_index("stack", dim, tensors[0].ndim + 1))
    return result


def repeat(input: Tensor, *sizes: Any) -> Tensor:
    """`input` copied `sizes[d]` times along each dimension d.

    >>> repeat(Tensor([1.0, 2.0]), 2, 2)
    tensor([[1., 2., 1., 2.],
            [1., 2., 1., 2.]])
    """
    counts = tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    if len(counts) < input.ndim:
        raise ShapeError(f"repeat: needs a count for each of {input.ndim} dimensions, got {counts}")
    shape = (1,) * (len(counts) - input.ndim) + input.shape
    spaced = reshape(input, [n for length in shape for n in (1, length)])
    tiled = expand(spaced, [n for count, length in zip(counts, shape, strict=True) for n in (count, length)])
    return reshape(tiled, [count * length for count, length in zip(counts, shape, strict=True)])
