"""Indexing: basic slices are views; everything else picks elements by index tensors.

Picking is linear, so the gradient of each op is its adjoint, which adds at the places picked from, and the adjoint's
gradient is the op again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor, UpdateOp, as_tensor, dim_index, update
from minidl.errors import DTypeError, ShapeError
from minidl.ops import along_loops
from minidl.ops.binary import copy_
from minidl.ops.row_loops import add_rows, pick_rows
from minidl.ops.views import basic_slice, narrow, reshape
from minidl.ops.where import where

__all__ = ["gather", "getitem", "index_select", "scatter_add", "setitem"]

# Stands for "the next index tensor" among the hashable entries of an advanced index.
PICK = "pick"


class Index(Op):
    """NumPy's advanced indexing by whole-number tensors, mixed with slices."""

    name = "index"
    saves = ("*indices",)

    @staticmethod
    def infer(x: Spec, *indices: Spec, template: tuple[Any, ...]) -> Spec:
        shadow = np.broadcast_to(np.empty((), np.bool_), x.shape)
        stand_ins = [np.zeros(i.shape, np.intp) for i in indices]
        try:
            return x.with_shape(*shadow[_numpy_index(template, stand_ins)].shape)
        except IndexError as error:
            raise ShapeError(f"index: {error}; the tensor has shape {x.shape}") from None

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *indices: Array, template: tuple[Any, ...]) -> None:
        out[...] = x[_numpy_index(template, indices)]

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and _picks_rows(arrays[0].size, arrays[1:], params["template"])

    @staticmethod
    def cpu(out: Array, x: Array, *indices: Array, template: tuple[Any, ...]) -> None:
        pick_rows(out, x, indices[0], template.index(PICK))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (indices,) = node.saved
        gx = IndexAdjoint.apply(g, *indices, shape=node.specs[0].shape, **node.params)
        return (gx, *[None] * len(indices))


class IndexAdjoint(Op):
    """Add each gradient at the place its element was picked from."""

    name = "index_adjoint"
    saves = ("*indices",)

    @staticmethod
    def infer(g: Spec, *indices: Spec, shape: tuple[int, ...], template: tuple[Any, ...]) -> Spec:
        return g.with_shape(*shape)

    @staticmethod
    def reference(
        xp: Any, out: Array, g: Array, *indices: Array, shape: tuple[int, ...], template: tuple[Any, ...]
    ) -> None:
        out[...] = 0
        _add_at(xp, out, _numpy_index(template, indices), g)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        size = math.prod(params["shape"])
        return super().cpu_takes(arrays, params) and _picks_rows(size, arrays[1:], params["template"])

    @staticmethod
    def cpu(out: Array, g: Array, *indices: Array, shape: tuple[int, ...], template: tuple[Any, ...]) -> None:
        add_rows(out, g, indices[0], template.index(PICK))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (indices,) = node.saved
        return (Index.apply(g, *indices, template=node.params["template"]), *[None] * len(indices))


class IndexPut(Op):
    """x, with the elements of y at the places that an advanced index names."""

    name = "index_put"
    saves = ("*indices",)

    @staticmethod
    def infer(x: Spec, y: Spec, *indices: Spec, template: tuple[Any, ...]) -> Spec:
        places = Index.infer(x, *indices, template=template).shape
        try:
            fits = np.broadcast_shapes(places, y.shape) == places
        except ValueError:
            fits = False
        if not fits:
            raise ShapeError(f"index assignment: a value of shape {y.shape} does not broadcast to the {places} places "
                             "that the index names")  # fmt: skip
        return x

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array, *indices: Array, template: tuple[Any, ...]) -> None:
        out[...] = x
        out[_numpy_index(template, indices)] = y

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (indices,) = node.saved
        stayed = _stayed(g.device.xp, g.shape, [i.array for i in indices], node.params["template"])
        taken = Index.apply(g, *indices, **node.params)
        taken = taken if stayed is None else where(Tensor.of(stayed), taken, 0.0)
        nothing = Tensor.of(g.device.xp.zeros((), g.dtype))
        gx = IndexPut.apply(g, nothing, *indices, **node.params) if node.needs[0] else None
        return (gx, taken, *[None] * len(indices))


def _stayed(xp: Any, shape: tuple[int, ...], indices: list[Array], template: tuple[Any, ...]) -> Array | None:
    """Where the value put was not overwritten by a later one at the same place; None if all stayed."""
    places = _numpy_index(template, indices)
    last = xp.full(shape, -1, np.int64)
    numbers = xp.arange(last[places].size).reshape(last[places].shape)
    last[places] = numbers
    stayed = last[places] == numbers
    return None if stayed.all() else stayed


class IndexPutInPlace(UpdateOp):
    """The same in place."""

    name = "index_put_"
    infer = IndexPut.infer

    @staticmethod
    def reference(xp: Any, out: Array, y: Array, *indices: Array, template: tuple[Any, ...]) -> None:
        out[_numpy_index(template, indices)] = y


class Gather(Op):
    """out[i][j][k] = x[index[i][j][k]][j][k] along the first dimension, and so on for others."""

    name = "gather"
    saves = ("index",)

    @staticmethod
    def infer(x: Spec, index: Spec, *, dim: int) -> Spec:
        _check_along("gather", "input", x, index, dim)
        return x.with_shape(*index.shape)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, index: Array, *, dim: int) -> None:
        out[...] = xp.take_along_axis(x[_corner(index.shape, x.ndim, dim)], index, axis=dim)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        x, index = arrays
        return super().cpu_takes(arrays, params) and along_loops.fits(x.shape, index, params["dim"])

    @staticmethod
    def cpu(out: Array, x: Array, index: Array, *, dim: int) -> None:
        along_loops.pick(out, x, index, dim)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (index,) = node.saved
        return GatherAdjoint.apply(g, index, shape=node.specs[0].shape, **node.params), None


class GatherAdjoint(Op):
    """Zeros, to which each element of g is added at the place that index names."""

    name = "gather_adjoint"
    saves = ("index",)

    @staticmethod
    def infer(g: Spec, index: Spec, *, shape: tuple[int, ...], dim: int) -> Spec:
        _check_along("scatter_add", "input", g.with_shape(*shape), index, dim)
        return g.with_shape(*shape)

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, index: Array, *, shape: tuple[int, ...], dim: int) -> None:
        out[...] = 0
        places = [xp.arange(n).reshape([-1 if d == axis else 1 for d in range(out.ndim)])
                  for axis, n in enumerate(index.shape)]  # fmt: skip
        places[dim] = index
        _add_at(xp, out, tuple(places), g)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and along_loops.fits(params["shape"], arrays[1], params["dim"])

    @staticmethod
    def cpu(out: Array, g: Array, index: Array, *, shape: tuple[int, ...], dim: int) -> None:
        out[...] = 0
        along_loops.join("sum", out, g, index, dim)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (index,) = node.saved
        return Gather.apply(g, index, dim=node.params["dim"]), None


def _add_at(xp: Any, out: Array, places: tuple[Any, ...], values: Array) -> None:
    """out[places] += values, repeated places included.

    Whole numbers are added as uint64, because CUDA's atomic additions know no int64: modulo 2^64 the sums are the same.
    """
    if out.dtype.kind == "f":
        xp.add.at(out, places, values)
        return
    total = out.astype(xp.uint64)
    xp.add.at(total, places, values.astype(xp.uint64))
    out[...] = total.astype(out.dtype)


def _check_along(op: str, argument: str, x: Spec, index: Spec, dim: int) -> None:
    if index.dtype.kind not in "iu":
        raise DTypeError(f"{op}: index must hold whole numbers, got {index.dtype}")
    if index.ndim != x.ndim or any(
        i > n for d, (i, n) in enumerate(zip(index.shape, x.shape, strict=True)) if d != dim
    ):
        raise ShapeError(f"{op}: index {index.shape} must fit into {argument} {x.shape} in every dimension but {dim}")


def has_only(index: Array, length: int) -> bool:
    """Whether whole numbers lie from 0 up to, not including, `length`."""
    if index.dtype == np.int64:  # those below zero are large without a sign: one pass instead of two
        index = index.view(np.uint64)
        return not index.size or int(index.max()) < length
    return not index.size or 0 <= int(index.min()) <= int(index.max()) < length


def check_bounds(op: str, index: Tensor, length: int) -> None:
    """Raise a ShapeError unless every index is from 0 up to, not including, `length`."""
    values = index.array
    if values.size and not (int(values.min()) >= 0 and int(values.max()) < length):
        low, high = int(values.min()), int(values.max())
        raise ShapeError(f"{op}: index goes from {low} to {high}, but must lie from 0 to {length - 1}")


def _corner(shape: tuple[int, ...], ndim: int, dim: int) -> tuple[slice, ...]:
    """The part of an array that an index of `shape` reaches; all of it along `dim`."""
    return tuple(slice(None) if d == dim else slice(shape[d]) for d in range(ndim))


def _picks_rows(size: int, indices: tuple[Array, ...], template: tuple[Any, ...]) -> bool:
    """Whether an index has one tensor, of int64, and whole slices before and behind it."""
    whole = all(entry == PICK or entry == (None, None, None) for entry in template)
    return size > 0 and whole and len(indices) == 1 and indices[0].dtype == np.int64 and indices[0].size > 0


def _numpy_index(template: tuple[Any, ...], indices: Any) -> tuple[Any, ...]:
    picks = iter(indices)
    return tuple(
        next(picks) if entry == PICK else slice(*entry) if isinstance(entry, tuple) else entry for entry in template
    )


def getitem(input: Tensor, index: Any) -> Tensor:
    """input[index], by NumPy's rules: numbers, slices, None and ... give a view; index tensors and masks a copy.

    Raises:
        ShapeError: if an index is out of range or there are too many.
        DTypeError: if an index is not made of whole numbers or bools.

    >>> x = Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> getitem(x, (slice(None), 1)), getitem(x, x > 2)
    (tensor([2., 4.]), tensor([3., 4.]))
    """
    entries = index if isinstance(index, tuple) else (index,)
    if not any(map(_is_pick, entries)):
        return basic_slice(input, entries)
    template, picks = _split(input, entries)
    result: Tensor = Index.apply(input, *picks, template=template)
    return result


def _split(input: Tensor, entries: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[Tensor]]:
    """An advanced index as a hashable template and the index tensors that belong to its PICKs."""
    template: list[Any] = []
    picks: list[Tensor] = []
    for entry in entries:
        if not _is_pick(entry):
            template.append((entry.start, entry.stop, entry.step) if isinstance(entry, slice) else entry)
            continue
        tensors = _whole_numbers(entry)
        picks += tensors
        template += [PICK] * len(tensors)
    _check_range(input, template, picks)
    return tuple(template), picks


def _is_pick(entry: Any) -> bool:
    return isinstance(entry, (Tensor, np.ndarray, list)) and not (isinstance(entry, Tensor) and _is_whole_scalar(entry))


def _is_whole_scalar(entry: Tensor) -> bool:
    return not entry.shape and entry.dtype.kind in "iu"


def _whole_numbers(entry: Any) -> list[Tensor]:
    """An index as whole-number tensors; a mask becomes the places where it is true."""
    t = as_tensor(entry) if len(entry) or hasattr(entry, "dtype") else Tensor.of(np.zeros(0, np.int64))
    if t.dtype.kind == "b":
        return [Tensor.of(places) for places in t.array.nonzero()]
    if t.dtype.kind not in "iu":
        raise DTypeError(f"index: index tensors must hold whole numbers or bools, got {t.dtype}")
    return [t]


def _check_range(input: Tensor, template: list[Any], picks: list[Tensor]) -> None:
    """Say which index is out of range, before NumPy does."""
    dims = [e for e in template if e is not None]
    if Ellipsis in dims:
        gap = dims.index(Ellipsis)
        dims[gap : gap + 1] = [(None, None, None)] * (input.ndim - len(dims) + 1)
    if len(dims) > input.ndim:
        raise ShapeError(f"index: {len(dims)} indices for a tensor of {input.ndim} dimensions")
    rest = iter(picks)
    for d, entry in enumerate(dims):
        if entry != PICK:
            continue
        values, n = next(rest).array, input.shape[d]
        if values.size and not (-n <= int(values.min()) and int(values.max()) < n):
            low, high = int(values.min()), int(values.max())
            raise ShapeError(f"index: values from {low} to {high} reach out of dimension {d} of length {n}")


def setitem(input: Tensor, index: Any, value: Any) -> None:
    """input[index] = value, in place and on the tape; `value` broadcasts and is converted to the tensor's type.

    Where index tensors name a place twice, the last value stays.

    Raises:
        GradError: if `input` is a leaf that needs a gradient and steps are being recorded; use `where` then.
        ShapeError: if an index is out of range or `value` does not broadcast to what it names.
    """
    value = as_tensor(value, like=input)
    entries = index if isinstance(index, tuple) else (index,)
    if not any(_is_pick(e) for e in entries):
        place = basic_slice(input, entries)
        copy_(place, _shortened(value, place.ndim))
        return
    template, picks = _split(input, entries)
    ((places,), _, _) = Index.plan(input.spec, *[p.spec for p in picks], template=template)
    update(IndexPutInPlace, IndexPut, (input, _shortened(value, places.ndim), *picks), {"template": template})


def _shortened(value: Tensor, ndim: int) -> Tensor:
    """`value` without leading dimensions of length 1 that go beyond `ndim`: assignment ignores them."""
    extra = value.ndim - ndim
    return reshape(value, value.shape[extra:]) if extra > 0 and set(value.shape[:extra]) == {1} else value


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Elements picked along `dim`: for dim 1, out[i][j] = input[i][index[i][j]].

    Args:
        index: int64, with as many dimensions as `input`, and no longer than it but along `dim`.

    Returns:
        The shape of `index`.

    >>> gather(Tensor([[1.0, 2.0], [3.0, 4.0]]), 1, as_tensor([[1], [0]]))
    tensor([[2.],
            [3.]])
    """
    d = dim_index("gather", dim, input.ndim)
    if not index.numel():
        return Tensor.of(input.device.xp.empty(index.shape, input.dtype))
    if not input.ndim or not index.ndim:  # a single number counts as one dimension
        one, places = (x if x.ndim else x.reshape(1) for x in (input, index))
        return gather(one, 0, places).reshape(index.shape)
    _check_along("gather", "input", input.spec, index.spec, d)
    check_bounds("gather", index, input.shape[d])
    result: Tensor = Gather.apply(input, index, dim=d)
    return result


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """`input` with each element of `src` added where `index` points along `dim`; the adjoint of `gather`."""
    d = dim_index("scatter_add", dim, input.ndim)
    if src.dtype != input.dtype:
        raise DTypeError(f"scatter_add: src must be {input.dtype} as input is, got {src.dtype}")
    if not input.ndim or not index.ndim:
        one, places, values = (x if x.ndim else x.reshape(1) for x in (input, index, src))
        return scatter_add(one, 0, places, values).reshape(input.shape)
    if not index.numel():
        return input + 0
    _check_along("scatter_add", "input", input.spec, index.spec, d)
    check_bounds("scatter_add", index, input.shape[d])
    if any(i > n for i, n in zip(index.shape, src.shape, strict=False)):
        raise ShapeError(f"scatter_add: index {index.shape} must fit into src {src.shape}")
    part = src
    for axis, n in enumerate(index.shape):
        part = part if part.shape[axis] == n else narrow(part, axis, 0, n)
    added: Tensor = GatherAdjoint.apply(part, index, shape=input.shape, dim=d)
    return input + added


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices of `input` that `index` (one-dimensional, int64) names along `dim`."""
    if index.ndim > 1:
        raise ShapeError(f"index_select: index must have one dimension, got {index.shape}")
    if not input.ndim:
        return getitem(input.reshape(1), index.reshape(index.numel())).reshape(())
    if not index.ndim:
        index = index.reshape(1)
    return getitem(input, (slice(None),) * dim_index("index_select", dim, input.ndim) + (index,))
