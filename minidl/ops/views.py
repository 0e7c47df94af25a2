"""Views: new shapes on the same memory. No kernel runs; only the gradient of a slice needs one."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor, ViewOp, dim_index, is_recording, registry
from minidl.device import device_of
from minidl.device.turn import contiguous as straight
from minidl.device.turn import reshaped
from minidl.errors import ShapeError
from minidl.ops.reduce import sum_to

__all__ = [
    "broadcast_to", "chunk", "contiguous", "expand", "expand_as", "flatten", "flip", "movedim", "narrow", "permute",
    "reshape", "select", "split", "squeeze", "transpose", "unbind", "unflatten", "unsqueeze", "view", "view_as",
]  # fmt: skip

# One entry of a basic index, hashable: an int, a (start, stop, step) triple for a slice, or None for a new dimension.
Entry: TypeAlias = "int | tuple[int | None, int | None, int | None] | None"
# What `ViewOp.put` gives: an op, its inputs and its parameters.
Step: TypeAlias = "tuple[type[Op], tuple[Tensor, ...], dict[str, Any]]"


class Reshape(ViewOp):
    name = "reshape"

    @staticmethod
    def infer(x: Spec, *, shape: tuple[int, ...]) -> Spec:
        return x.with_shape(*shape)

    @staticmethod
    def view(x: Array, *, shape: tuple[int, ...]) -> Array:
        return reshaped(x, shape) if type(x) is np.ndarray else x.reshape(shape)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (Reshape.apply(g, shape=node.specs[0].shape),)

    @classmethod
    def put(cls, parent: Tensor, view: Tensor, **params: Any) -> Step:
        return Reshape, (view,), {"shape": parent.shape}


class Contiguous(ViewOp):
    """The same numbers in order in memory: a copy where they are not yet."""

    name = "contiguous"

    @staticmethod
    def infer(x: Spec) -> Spec:
        return x

    @staticmethod
    def view(x: Array) -> Array:
        return straight(x) if type(x) is np.ndarray else device_of(x).xp.ascontiguousarray(x)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (g,)


class Permute(ViewOp):
    name = "permute"

    @staticmethod
    def infer(x: Spec, *, dims: tuple[int, ...]) -> Spec:
        return x.with_shape(*[x.shape[d] for d in dims])

    @staticmethod
    def view(x: Array, *, dims: tuple[int, ...]) -> Array:
        return x.transpose(dims)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (Permute.apply(g, dims=_inverse(node.params["dims"])),)

    @classmethod
    def put(cls, parent: Tensor, view: Tensor, **params: Any) -> Step:
        return Permute, (view,), {"dims": _inverse(params["dims"])}


def _inverse(dims: tuple[int, ...]) -> tuple[int, ...]:
    """The order that undoes `dims`."""
    return tuple(sorted(range(len(dims)), key=dims.__getitem__))


class Expand(ViewOp):
    name = "expand"

    @staticmethod
    def infer(x: Spec, *, shape: tuple[int, ...]) -> Spec:
        return x.with_shape(*shape)

    @staticmethod
    def view(x: Array, *, shape: tuple[int, ...]) -> Array:
        return device_of(x).xp.broadcast_to(x, shape)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (sum_to(g, node.specs[0].shape),)


class Slice(ViewOp):
    """Basic indexing: numbers, slices and new dimensions."""

    name = "slice"

    @staticmethod
    def infer(x: Spec, *, index: tuple[Entry, ...]) -> Spec:
        lengths, dims = [], iter(x.shape)
        for entry in index:
            if isinstance(entry, tuple):
                lengths.append(len(range(*slice(*entry).indices(next(dims)))))
            elif entry is None:
                lengths.append(1)
            else:
                next(dims)
        return x.with_shape(*lengths, *dims)

    @staticmethod
    def view(x: Array, *, index: tuple[Entry, ...]) -> Array:
        return x[(*_thawed(index), ...)]  # the ellipsis makes a view even of a single element

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (SliceAdjoint.apply(g, shape=node.specs[0].shape, **node.params),)

    @classmethod
    def put(cls, parent: Tensor, view: Tensor, **params: Any) -> Step:
        return SlicePut, (parent, view), params


class SliceAdjoint(Op):
    """Put a gradient back where its slice was taken; the rest is zero."""

    name = "slice_adjoint"

    @staticmethod
    def infer(g: Spec, *, shape: tuple[int, ...], index: tuple[Entry, ...]) -> Spec:
        return g.with_shape(*shape)

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, *, shape: tuple[int, ...], index: tuple[Entry, ...]) -> None:
        out[...] = 0
        out[(*_thawed(index), ...)] = g

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (Slice.apply(g, index=node.params["index"]),)


class SlicePut(Op):
    """x, with y, which may broadcast, in the place of one of its slices: x after the slice was changed in place."""

    name = "slice_put"

    @staticmethod
    def infer(x: Spec, y: Spec, *, index: tuple[Entry, ...]) -> Spec:
        return x

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array, *, index: tuple[Entry, ...]) -> None:
        out[...] = x
        out[(*_thawed(index), ...)] = y

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        taken = Slice.apply(g, index=node.params["index"])
        nothing = Tensor.of(g.device.xp.zeros((), g.dtype))
        return SlicePut.apply(g, nothing, **node.params) if node.needs[0] else None, taken


class SideBySide(Op):
    """Slices that cover a tensor side by side along `dim`, as the results of one step.

    Their gradients are joined by one copy; slices on their own would each fill a tensor of the whole's size, which of
    T steps of a sequence costs T² steps. In-place changes still go by the origin that each slice has.
    """

    name = "side_by_side"

    @staticmethod
    def infer(x: Spec, *, dim: int, sizes: tuple[int | None, ...]) -> tuple[Spec, ...]:
        before, after = x.shape[:dim], x.shape[dim + 1 :]
        return tuple([x.with_shape(*before, *(() if n is None else (n,)), *after) for n in sizes])

    @staticmethod
    def vjp(node: Node, g: tuple[Tensor | None, ...]) -> Grads:
        known = next(part for part in g if part is not None)
        zeros = known.device.xp.zeros
        parts = [Tensor.of(zeros(*spec)) if part is None else part for part, spec in zip(g, node.outs, strict=True)]
        join = "stack" if node.params["sizes"][0] is None else "cat"
        return (registry.call(join, parts, node.params["dim"]),)


def _side_by_side(input: Tensor, dim: int, sizes: Sequence[int | None]) -> tuple[Tensor, ...]:
    """The parts of these lengths along `dim`, or without that dimension where it is None."""
    parts, start = [], 0
    for size in sizes:
        place: Entry = start if size is None else (start, start + size, None)
        parts.append(Slice.apply(input, index=((None, None, None),) * dim + (place,)))
        start += 1 if size is None else size
    if len(parts) > 1 and is_recording() and input.requires_grad:
        params = {"dim": dim, "sizes": tuple(sizes)}
        node = Node(SideBySide, (input,), params, (input.spec,), tuple([p.spec for p in parts]), tuple(parts))
        for slot, part in enumerate(parts):
            part.link(node, slot)
    return tuple(parts)


def _thawed(index: tuple[Entry, ...]) -> tuple[Any, ...]:
    return tuple([slice(*entry) if isinstance(entry, tuple) else entry for entry in index])


def reshape(input: Tensor, *shape: int | Sequence[int]) -> Tensor:
    """`input` with another shape and the same elements in order; a view where strides allow, else a copy.

    Args:
        shape: lengths; one may be -1 and is worked out.

    Raises:
        ShapeError: if the number of elements differs.

    >>> reshape(Tensor([[1.0, 2.0], [3.0, 4.0]]), 4)
    tensor([1., 2., 3., 4.])
    """
    wanted, numel = _flat(shape), input.numel()
    free = wanted.count(-1)
    known = math.prod(wanted) * (-1) ** free
    if free > 1 or min(wanted, default=0) < -1 or (numel % max(known, 1) if free else numel != known):
        raise ShapeError(f"reshape: a tensor of shape {input.shape} ({numel} elements) cannot take shape {wanted}")
    if free and known == 0:
        raise ShapeError(f"reshape: -1 in {wanted} is ambiguous for a tensor without elements; give the length")
    if free:
        wanted = tuple([numel // known if n == -1 else n for n in wanted])
    result: Tensor = Reshape.apply(input, shape=wanted)
    return result


def view(input: Tensor, *shape: int | Sequence[int]) -> Tensor:
    """The same as `reshape`; PyTorch's `view` would refuse where a copy is needed."""
    return reshape(input, *shape)


def view_as(input: Tensor, other: Tensor) -> Tensor:
    """`input` in the shape of `other`."""
    return reshape(input, other.shape)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join dimensions `start_dim` to `end_dim` into one.

    >>> flatten(Tensor([[[1.0], [2.0]]]), 1).shape
    (1, 2)
    """
    if input.ndim == 0:
        return reshape(input, 1)
    start, end = dim_index("flatten", start_dim, input.ndim), dim_index("flatten", end_dim, input.ndim)
    shape = input.shape
    if start > end:
        raise ShapeError(f"flatten: start_dim {start_dim} lies behind end_dim {end_dim}")
    return reshape(input, *shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Split dimension `dim` into several of lengths `sizes`; one may be -1."""
    d = dim_index("unflatten", dim, input.ndim)
    sizes = tuple(sizes)
    if -1 in sizes:
        rest = -math.prod(sizes)
        sizes = tuple(input.shape[d] // rest if n == -1 else n for n in sizes)
    if math.prod(sizes) != input.shape[d]:
        raise ShapeError(f"unflatten: dimension {dim} has length {input.shape[d]}, sizes {sizes} do not multiply to it")
    return reshape(input, *input.shape[:d], *sizes, *input.shape[d + 1 :])


def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Drop the dimensions of length 1: all of them, or those named."""
    dims = range(input.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    drop = {d for d in (dim_index("squeeze", d, input.ndim) for d in dims) if input.ndim and input.shape[d] == 1}
    return reshape(input, tuple(n for d, n in enumerate(input.shape) if d not in drop))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """Add a dimension of length 1 at `dim`."""
    d = dim_index("unsqueeze", dim, input.ndim + 1)
    return reshape(input, *input.shape[:d], 1, *input.shape[d:])


def permute(input: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """`input` with its dimensions in the order `dims`.

    Raises:
        ShapeError: if `dims` does not name every dimension once.
    """
    order, all_dims = _flat(dims), list(range(input.ndim))
    if sorted(order) != all_dims:
        order = tuple([dim_index("permute", d, input.ndim) for d in order])
        if sorted(order) != all_dims:
            raise ShapeError(f"permute: dims must name each of {input.ndim} dimensions once, got {_flat(dims)}")
    result: Tensor = Permute.apply(input, dims=order)
    return result


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """`input` with two dimensions exchanged."""
    a, b = dim_index("transpose", dim0, input.ndim), dim_index("transpose", dim1, input.ndim)
    order = list(range(input.ndim))
    if not order:
        return input
    order[a], order[b] = order[b], order[a]
    result: Tensor = Permute.apply(input, dims=tuple(order))
    return result


def contiguous(input: Tensor) -> Tensor:
    """`input` itself if its elements lie in order in memory, else a copy that does."""
    if input.is_contiguous():
        return input
    result: Tensor = Contiguous.apply(input)
    return result


def movedim(input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """`input` with dimension `source` moved to place `destination`; several at once if both are sequences.

    Raises:
        ShapeError: if they are not equally many, or one is named twice.
    """
    if not input.ndim:
        return input
    here, there = (
        [dim_index("movedim", d, input.ndim) for d in ([dims] if isinstance(dims, int) else dims)]
        for dims in (source, destination)
    )
    if len(here) != len(there) or len(set(here)) != len(here) or len(set(there)) != len(there):
        raise ShapeError(
            f"movedim: source {source} and destination {destination} must name as many dimensions, each once"
        )
    order = [d for d in range(input.ndim) if d not in here]
    for place, d in sorted(zip(there, here, strict=True)):
        order.insert(place, d)
    return permute(input, order)


def expand(input: Tensor, *shape: int | Sequence[int]) -> Tensor:
    """`input` repeated to `shape` without copying; -1 keeps a length.

    Raises:
        ShapeError: if a length that is not 1 would have to change.
    """
    wanted = _flat(shape)
    lead = len(wanted) - input.ndim
    old = (1,) * lead + input.shape
    full = tuple(o if n == -1 else n for n, o in zip(wanted, old, strict=False))
    if lead < 0 or any(o not in (1, n) for o, n in zip(old, full, strict=True)):
        raise ShapeError(
            f"expand: a tensor of shape {input.shape} cannot be expanded to {wanted}; only length 1 can grow"
        )
    result: Tensor = Expand.apply(input, shape=full)
    return result


def broadcast_to(input: Tensor, shape: Sequence[int]) -> Tensor:
    """The same as `expand`, as NumPy calls it."""
    return expand(input, shape)


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """`input` expanded to the shape of `other`."""
    return expand(input, other.shape)


def basic_slice(input: Tensor, index: tuple[Any, ...]) -> Tensor:
    """Basic indexing by whole numbers, slices, None and one ellipsis.

    Raises:
        ShapeError: if there are too many indices, or a number is out of range.
    """
    result: Tensor = Slice.apply(input, index=_frozen(index, input.shape))
    return result


def _frozen(index: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[Entry, ...]:
    used = len([e for e in index if e is not None and e is not Ellipsis])
    if used > len(shape):
        raise ShapeError(f"index: {used} indices for a tensor of {len(shape)} dimensions")
    gaps = [place for place, e in enumerate(index) if e is Ellipsis]
    if gaps:
        gap = gaps[0]
        index = index[:gap] + (slice(None),) * (len(shape) - used) + index[gap + 1 :]
    entries: list[Entry] = []
    dims = iter(enumerate(shape))
    for e in index:
        if e is None:
            entries.append(None)
            continue
        d, n = next(dims)
        if isinstance(e, slice):
            entries.append((_whole(e.start), _whole(e.stop), _whole(e.step)))
            continue
        i = e.__index__()
        if not -n <= i < n:
            raise ShapeError(f"index: {i} is out of range for dimension {d} of length {n}")
        entries.append(i)
    return tuple(entries)


def _whole(bound: Any) -> int | None:
    return None if bound is None else int(bound.__index__())


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice number `index` along `dim`, that dimension dropped."""
    return basic_slice(input, (slice(None),) * dim_index("select", dim, input.ndim) + (index,))


def narrow(input: Tensor, dim: int, start: int | Tensor, length: int) -> Tensor:
    """`length` elements from `start` along `dim`; a negative start counts from the end."""
    if not input.ndim:
        raise ShapeError("narrow: a single number has no dimension to narrow")
    d = dim_index("narrow", dim, input.ndim)
    if isinstance(start, Tensor) and (start.ndim or start.dtype.kind not in "iu"):
        raise ShapeError(f"narrow: start must be one whole number, got {start.dtype} of shape {start.shape}")
    start = int(start)
    start = start + input.shape[d] if start < 0 else start
    if not 0 <= start <= start + length <= input.shape[d]:
        raise ShapeError(
            f"narrow: {start} to {start + length} does not lie in dimension {dim} of length {input.shape[d]}"
        )
    return basic_slice(input, (slice(None),) * d + (slice(start, start + length),))


def flip(input: Tensor, dims: int | Sequence[int]) -> Tensor:
    """`input` mirrored along `dims`; a view."""
    named = [dim_index("flip", d, input.ndim) for d in ([dims] if isinstance(dims, int) else dims)]
    axes = set(named)
    if len(axes) != len(named):
        raise ShapeError(f"flip: a dimension is named twice in {dims}")
    return basic_slice(input, tuple(slice(None, None, -1 if d in axes else None) for d in range(input.ndim)))


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along `dim`, one tensor each."""
    if not input.ndim:
        raise ShapeError("unbind: a single number has no dimension to unbind")
    d = dim_index("unbind", dim, input.ndim)
    return _side_by_side(input, d, [None] * input.shape[d])


def split(input: Tensor, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of `split_size` along `dim` (the last may be shorter), or of the lengths listed."""
    if not input.ndim:
        raise ShapeError("split: a single number has no dimension to split")
    d = dim_index("split", dim, input.ndim)
    length = input.shape[d]
    if isinstance(split_size, int) and (split_size < 0 or (split_size == 0 and length)):
        raise ShapeError(f"split: split_size must be 1 or more, got {split_size}")
    if isinstance(split_size, int):
        sizes = [min(split_size, length - start) for start in range(0, max(length, 1), max(split_size, 1))]
    else:
        sizes = list(map(operator.index, split_size))
        if sum(sizes) != length:
            raise ShapeError(f"split: sizes {sizes} must add up to {length}, the length of dimension {dim}")
        if min(sizes, default=0) < 0:
            raise ShapeError(f"split: sizes must be 0 or more, got {sizes}")
    return _side_by_side(input, d, sizes)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of equal length along `dim`; the last may be shorter."""
    if not input.ndim or chunks < 1:
        raise ShapeError(f"chunk: needs a dimension and one chunk or more, got {input.shape} and {chunks} chunks")
    length = input.shape[dim_index("chunk", dim, input.ndim)]
    return split(input, max(1, -(-length // chunks)), dim)


def _flat(dims: tuple[Any, ...]) -> tuple[int, ...]:
    """Lengths given one by one or as one sequence."""
    if len(dims) == 1 and not hasattr(dims[0], "__index__"):
        dims = tuple(dims[0])
    return tuple([int(d.__index__()) for d in dims])
