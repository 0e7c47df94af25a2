"""More ways to pick elements and to write, fill and add at the places picked; PyTorch's names.

Whatever writes gives a new tensor. Two ops do it, `ScatterWrite` along a dimension and `IndexPut` at any places, and
the gradients of both are picks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidl.core import Array, Grads, Node, Op, Spec, Tensor, as_tensor, dim_index
from minidl.errors import ArgumentError, DTypeError, ShapeError
from minidl.ops.elementwise import broadcast
from minidl.ops.indexing import (
    PICK,
    Gather,
    IndexAdjoint,
    IndexPut,
    _check_range,
    _whole_numbers,
    check_bounds,
    gather,
    getitem,
    scatter_add,
)
from minidl.ops.views import expand, flatten, narrow, reshape
from minidl.ops.where import where

__all__ = [
    "argwhere", "index_add", "index_copy", "index_fill", "index_put", "masked_scatter", "masked_select", "nonzero",
    "put", "scatter", "select_scatter", "slice_scatter", "take", "take_along_dim",
]  # fmt: skip


class ScatterWrite(Op):
    """x with src written where index points along `dim`; of several writes to one place, the last stays."""

    name = "scatter_write"
    saves = ("index",)

    @staticmethod
    def infer(x: Spec, index: Spec, src: Spec, *, dim: int) -> Spec:
        return x

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, index: Array, src: Array, *, dim: int) -> None:
        out[...] = x
        places = [xp.arange(n).reshape([-1 if d == axis else 1 for d in range(out.ndim)])
                  for axis, n in enumerate(index.shape)]  # fmt: skip
        places[dim] = index
        out[tuple(places)] = src

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (index,) = node.saved
        dim = node.params["dim"]
        nothing = Tensor.of(g.device.xp.zeros(index.shape, g.dtype))
        gx = ScatterWrite.apply(g, index, nothing, dim=dim) if node.needs[0] else None
        return gx, None, Gather.apply(g, index, dim=dim) if node.needs[2] else None


def _at(input: Tensor, dim: int, index: Tensor) -> tuple[int, Tensor, tuple[Any, ...]]:
    """A one-dimensional index along `dim`: the dimension, the index, and its template."""
    d = dim_index("index", dim, input.ndim)
    if index.ndim > 1:
        raise ShapeError(f"index: index must have one dimension, got {index.shape}")
    if index.dtype.kind not in "iu":
        raise DTypeError(f"index: index must hold whole numbers, got {index.dtype}")
    template = ((None, None, None),) * d + (PICK,)
    flat = reshape(index, index.numel())
    _check_range(input, list(template), [flat])
    return d, flat, template


def _lifted(function: Any, input: Tensor, dim: int, index: Tensor, source: Any, **options: Any) -> Tensor:
    """A single number, worked on as a tensor of one element."""
    part = reshape(source, 1) if isinstance(source, Tensor) else source
    return reshape(function(reshape(input, 1), dim, index, part, **options), ())


def _same_type(op: str, input: Tensor, source: Tensor) -> None:
    if source.dtype != input.dtype:
        raise DTypeError(f"{op}: source must be {input.dtype} as input is, got {source.dtype}; use source.to(dtype)")


def _check_source(op: str, input: Tensor, d: int, index: Tensor, source: Tensor) -> None:
    wanted = (*input.shape[:d], index.numel(), *input.shape[d + 1 :])
    if source.shape != wanted:
        raise ShapeError(f"{op}: source must be {wanted} beside input {input.shape}, got {source.shape}")


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """`input` with the slices of `source` added to those that `index` names along `dim`.

    Args:
        index: (n,), int64; a slice that is named twice gets both.
        source: as `input`, but n long along `dim`.
        alpha: a factor for `source`.
    """
    if not input.ndim:
        return _lifted(index_add, input, dim, index, source, alpha=alpha)
    d, flat, template = _at(input, dim, index)
    _same_type("index_add", input, source)
    _check_source("index_add", input, d, flat, source)
    added: Tensor = IndexAdjoint.apply(source, flat, shape=input.shape, template=template)
    return input + (added if alpha == 1 else added * alpha)


def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """`input` with the slices that `index` (n,) names along `dim` replaced by those of `source`."""
    if not input.ndim:
        return _lifted(index_copy, input, dim, index, source)
    d, flat, template = _at(input, dim, index)
    _same_type("index_copy", input, source)
    _check_source("index_copy", input, d, flat, source)
    result: Tensor = IndexPut.apply(input, source, flat, template=template)
    return result


def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """`input` with `value` in the slices that `index` (n,) names along `dim`."""
    if not input.ndim:
        return reshape(index_fill(reshape(input, 1), dim, index, value), ())
    if isinstance(value, Tensor) and value.ndim:
        raise ShapeError(f"index_fill: value must be one number, got a tensor of shape {value.shape}")
    _, flat, template = _at(input, dim, index)
    result: Tensor = IndexPut.apply(input, as_tensor(value, like=input), flat, template=template)
    return result


def index_put(input: Tensor, indices: Sequence[Tensor], values: Tensor, accumulate: bool = False) -> Tensor:
    """`input` with `values`, which broadcast, written at input[indices]; added there if `accumulate`."""
    picks = [part for index in indices for part in _whole_numbers(index)]
    template = (PICK,) * len(picks)
    _check_range(input, list(template), picks)
    if not accumulate:
        result: Tensor = IndexPut.apply(input, values, *picks, template=template)
        return result
    places = (*broadcast("index_put", *[p.spec for p in picks]), *input.shape[len(picks) :])
    added: Tensor = IndexAdjoint.apply(expand(values, places), *picks, shape=input.shape, template=template)
    return input + added


def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """`input` with `source` written at the places `index` of the flattened tensor; added there if `accumulate`."""
    if index.numel() != source.numel():
        raise ShapeError(f"put: index {index.shape} and source {source.shape} must have as many elements")
    _same_type("put", input, source)
    if index.dtype.kind not in "iu":
        raise DTypeError(f"put: index must hold whole numbers, got {index.dtype}")
    flat = flatten(input)
    return reshape(index_put(flat, (flatten(index),), flatten(source), accumulate), input.shape)


def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements at the places `index` of the flattened tensor, in the shape of `index`.

    >>> take(Tensor([[1.0, 2.0], [3.0, 4.0]]), as_tensor([0, 3]))
    tensor([1., 4.])
    """
    if index.dtype.kind not in "iu":
        raise DTypeError(f"take: index must hold whole numbers, got {index.dtype}")
    return reshape(getitem(flatten(input), flatten(index)), index.shape)


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """`gather` with broadcasting: along `dim`, or in the flattened tensor for None."""
    if indices.dtype.kind not in "iu":
        raise DTypeError(f"take_along_dim: indices must hold whole numbers, got {indices.dtype}")
    if dim is None:
        return gather(flatten(input), 0, flatten(indices))
    d = dim_index("take_along_dim", dim, input.ndim)
    if indices.ndim != input.ndim:
        raise ShapeError(f"take_along_dim: indices must have {input.ndim} dimensions, got {indices.shape}")
    rest = broadcast(
        "take_along_dim", *[x.spec.with_shape(*x.shape[:d], 1, *x.shape[d + 1 :]) for x in (input, indices)]
    )
    n = input.shape[d]
    indices = where(indices < 0, indices + n, indices)
    along = [(*rest[:d], x.shape[d], *rest[d + 1 :]) for x in (input, indices)]
    return gather(expand(input, along[0]), d, expand(indices, along[1]))


def scatter(input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: float | None = None,
            reduce: str | None = None) -> Tensor:  # fmt: skip
    """`input` with `src` (a tensor or a number) written where `index` points along `dim`.

    Args:
        index: int64, no longer than `input` but along `dim`, and no longer than `src`.
        value: the number, as PyTorch calls it.
        reduce: "add" or "multiply" instead of writing.

    Raises:
        ShapeError: if shapes do not fit, or an index is out of range.

    >>> scatter(Tensor([0.0, 0.0, 0.0]), 0, as_tensor([2, 0]), 5.0)
    tensor([5., 0., 5.])
    """
    source = value if src is None else src
    if source is None:
        raise ArgumentError("scatter: needs src, a tensor or a number")
    if not isinstance(source, Tensor):
        source = Tensor.of(input.device.xp.full(index.shape, source, input.dtype))
    if not input.ndim or not index.ndim:
        one = [reshape(x, 1) if not x.ndim else x for x in (input, index, source)]
        return reshape(scatter(one[0], dim, one[1], one[2], reduce=reduce), input.shape)
    d = dim_index("scatter", dim, input.ndim)
    _same_type("scatter", input, source)
    if index.dtype.kind not in "iu":
        raise DTypeError(f"scatter: index must hold whole numbers, got {index.dtype}")
    if not index.numel():
        return input.clone()
    if (
        index.ndim != input.ndim
        or any(n > m for n, m in zip(index.shape, source.shape, strict=False))
        or any(n > m for axis, (n, m) in enumerate(zip(index.shape, input.shape, strict=True)) if axis != d)
    ):
        raise ShapeError(f"scatter: index {index.shape} must fit into src {source.shape}, and into input {input.shape} "
                         f"but along dim {d}")  # fmt: skip
    check_bounds("scatter", index, input.shape[d])
    if reduce == "add":
        return scatter_add(input, d, index, source)
    for axis, n in enumerate(index.shape):
        source = source if source.shape[axis] == n else narrow(source, axis, 0, n)
    if reduce == "multiply":
        return input * _products(source, index, input, d)
    if reduce is not None:
        raise ArgumentError(f"scatter: reduce must be 'add', 'multiply' or None, got {reduce!r}")
    result: Tensor = ScatterWrite.apply(input, index, source, dim=d)
    return result


def _products(source: Tensor, index: Tensor, input: Tensor, dim: int) -> Tensor:
    """For each place of `input` the product of what is scattered there; by logarithms it would not take zeros."""
    if source.requires_grad:
        raise ArgumentError("scatter: reduce='multiply' has no gradient for src; detach it")
    xp = input.device.xp
    total = xp.ones(input.shape, input.dtype)
    for k in range(index.shape[dim]):
        at = tuple(slice(k, k + 1) if d == dim else slice(None) for d in range(index.ndim))
        corner = tuple(slice(None) if d == dim else slice(n) for d, n in enumerate(index.shape))
        rows = xp.arange(input.shape[dim]).reshape([-1 if d == dim else 1 for d in range(input.ndim)])
        total[corner] *= xp.where(rows == index.array[at], source.array[at], xp.ones((), input.dtype))
    return Tensor.of(total)


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where `mask` (bool, which broadcasts) is true, in one dimension."""
    if mask.dtype.kind != "b":
        raise DTypeError(f"masked_select: mask must be bool, got {mask.dtype}")
    shape = broadcast("masked_select", input.spec, mask.spec)
    return getitem(reshape(expand(input, shape), -1 if shape else 1), reshape(expand(mask, shape), -1 if shape else 1))


def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """`input` with the elements of `source`, in order, where `mask` (bool, which broadcasts) is true.

    Raises:
        ShapeError: if `source` has too few.
    """
    if mask.dtype.kind != "b":
        raise DTypeError(f"masked_scatter: mask must be bool, got {mask.dtype}")
    _same_type("masked_scatter", input, source)
    shape = broadcast("masked_scatter", input.spec, mask.spec)
    places = nonzero(flatten(expand(mask, shape)))[:, 0]
    if places.numel() > source.numel():
        raise ShapeError(f"masked_scatter: mask takes {places.numel()} elements, but source has {source.numel()}")
    values = narrow(flatten(source), 0, 0, places.numel())
    return reshape(index_put(flatten(expand(input, shape)), (places,), values), shape)


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Where the elements are not zero: (n, dimensions) of int64, or with `as_tuple` one index for each dimension.

    >>> nonzero(Tensor([0.0, 2.0, 3.0]))
    tensor([[1],
            [2]])
    """
    xp = input.device.xp
    if not input.ndim:
        found = xp.zeros((int(bool(input.array != 0)), 0), xp.int64)
        return (Tensor.of(xp.zeros(len(found), xp.int64)),) if as_tuple else Tensor.of(found)
    places = input.array.nonzero()
    return tuple(map(Tensor.of, places)) if as_tuple else Tensor.of(xp.stack(places, 1))


def argwhere(input: Tensor) -> Tensor:
    """The same as `nonzero`, as NumPy calls it."""
    result: Tensor = nonzero(input)
    return result


def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """`input` with `src` written to the slice `start`:`end`:`step` along `dim`."""
    d = dim_index("slice_scatter", dim, input.ndim)
    taken = range(input.shape[d])[slice(start, end, step)]
    wanted = (*input.shape[:d], len(taken), *input.shape[d + 1 :])
    if src.shape != wanted:
        raise ShapeError(f"slice_scatter: src must be {wanted}, as the slice is; got {src.shape}")
    return index_copy(input, d, Tensor.of(input.device.xp.arange(len(taken)) * step + taken.start), src)


def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """`input` with `src` written to slice number `index` along `dim`."""
    d = dim_index("select_scatter", dim, input.ndim)
    if src.shape != input.shape[:d] + input.shape[d + 1 :]:
        raise ShapeError(
            f"select_scatter: src must be as a slice of input {input.shape} along dim {d}, got {src.shape}"
        )
    return index_copy(input, d, Tensor.of(input.device.xp.asarray([index])), src.unsqueeze(d))
