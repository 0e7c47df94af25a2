"""Elements in other places: rolled, turned, tiled, joined and cut in more ways. Built on views, gathers and `cat`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from minidl.core import Spec, Tensor, dim_index
from minidl.device.dtypes import bool_
from minidl.errors import ArgumentError, ShapeError
from minidl.ops.concat import cat, repeat, stack
from minidl.ops.elementwise import broadcast
from minidl.ops.indexing import index_select
from minidl.ops.reduce import sum_to
from minidl.ops.views import basic_slice as slice_
from minidl.ops.views import expand, flatten, flip, movedim, narrow, reshape, split, transpose, unsqueeze

__all__ = [
    "adjoint", "atleast_1d", "atleast_2d", "atleast_3d", "block_diag", "broadcast_shapes", "broadcast_tensors",
    "cartesian_prod", "column_stack", "combinations", "concat", "concatenate", "dsplit", "dstack", "fliplr", "flipud",
    "hsplit", "hstack", "meshgrid", "moveaxis", "ravel", "repeat_interleave", "reshape_as", "roll", "rot90",
    "slices", "split_with_sizes", "sum_to_size", "swapaxes", "swapdims", "t", "tensor_split", "tile", "vsplit",
    "vstack",
]  # fmt: skip


def t(input: Tensor) -> Tensor:
    """A matrix transposed; tensors of fewer dimensions as they are."""
    if input.ndim > 2:
        raise ShapeError(f"t: input must have at most two dimensions, got {input.shape}; use transpose or permute")
    return transpose(input, 0, 1) if input.ndim == 2 else input


def adjoint(input: Tensor) -> Tensor:
    """The last two dimensions exchanged (there are no complex numbers to conjugate)."""
    return transpose(input, -2, -1)


def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """The same as `transpose`, as NumPy calls it."""
    return transpose(input, axis0, axis1)


def swapdims(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """The same as `transpose`."""
    return transpose(input, dim0, dim1)


def moveaxis(input: Tensor, source: Any, destination: Any) -> Tensor:
    """The same as `movedim`, as NumPy calls it."""
    return movedim(input, source, destination)


def ravel(input: Tensor) -> Tensor:
    """All elements in one dimension."""
    return flatten(input)


def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """`input` in the shape of `other`."""
    return reshape(input, other.shape)


def atleast_1d(*tensors: Any) -> Any:
    """Single numbers as one-dimensional tensors; several tensors, or a list of them, give a tuple."""
    return _each(lambda x: reshape(x, 1) if not x.ndim else x, tensors)


def atleast_2d(*tensors: Any) -> Any:
    """Tensors of fewer than two dimensions as (1, N)."""
    return _each(lambda x: reshape(x, 1, -1 if x.numel() else x.shape[0]) if x.ndim < 2 else x, tensors)


def atleast_3d(*tensors: Any) -> Any:
    """Tensors of fewer than three dimensions as (1, N, 1) or (M, N, 1)."""
    return _each(lambda x: unsqueeze(atleast_2d(x), 2) if x.ndim < 3 else x, tensors)


def _each(function: Any, tensors: tuple[Any, ...]) -> Any:
    if len(tensors) == 1 and isinstance(tensors[0], Tensor):
        return function(tensors[0])
    return tuple(function(x) for x in (tensors[0] if len(tensors) == 1 else tensors))


def fliplr(input: Tensor) -> Tensor:
    """Columns in reverse order."""
    if input.ndim < 2:
        raise ShapeError(f"fliplr: input must have two dimensions or more, got {input.shape}")
    return flip(input, 1)


def flipud(input: Tensor) -> Tensor:
    """Rows in reverse order."""
    if input.ndim < 1:
        raise ShapeError("flipud: input must have one dimension or more, got a single number")
    return flip(input, 0)


def roll(input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
    """Elements moved on by `shifts` along `dims`; those pushed out at the end come in at the front.

    Args:
        shifts: one number for each of `dims`.
        dims: None rolls the flattened tensor.

    >>> roll(Tensor([1.0, 2.0, 3.0]), 1)
    tensor([3., 1., 2.])
    """
    steps = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    if dims is None or dims == ():
        if len(steps) != 1:
            raise ShapeError(f"roll: shifts {steps} need as many dims; got none")
        return reshape(roll(flatten(input), steps, 0), input.shape)
    axes = (dims,) if isinstance(dims, int) else tuple(dims)
    if not input.ndim:
        raise ShapeError(f"roll: a single number has no dimension {axes[0]} to roll along")
    if len(steps) != len(axes):
        raise ShapeError(f"roll: shifts and dims must be equally many, got {steps} and {axes}")
    for step, axis in zip(steps, axes, strict=True):
        dim = dim_index("roll", axis, input.ndim)
        length = input.shape[dim]
        cut = length - step % length if length else 0
        if cut and cut != length:
            input = cat([narrow(input, dim, cut, length - cut), narrow(input, dim, 0, cut)], dim)
    return input


def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Turned by `k` quarters in the plane of `dims`, from the first towards the second.

    Raises:
        ShapeError: unless `dims` are two different dimensions.
    """
    if len(dims) != 2:
        raise ShapeError(f"rot90: dims must be two dimensions, got {tuple(dims)}")
    a, b = (dim_index("rot90", d, input.ndim) for d in dims)
    if a == b or input.ndim < 2:
        raise ShapeError(f"rot90: dims must be two different dimensions of input {input.shape}, got {tuple(dims)}")
    k %= 4
    if k == 2:
        return flip(input, (a, b))
    if k == 1:
        return transpose(flip(input, b), a, b)
    return flip(transpose(input, a, b), b) if k == 3 else input


def tile(input: Tensor, *dims: Any) -> Tensor:
    """`input` copied along its dimensions; missing counts are 1, as NumPy fills them in front.

    >>> tile(Tensor([1.0, 2.0]), 2)
    tensor([1., 2., 1., 2.])
    """
    counts = tuple(dims[0]) if len(dims) == 1 and not isinstance(dims[0], int) else dims
    return repeat(input, (1,) * (input.ndim - len(counts)) + tuple(counts))


def repeat_interleave(
    input: Tensor, repeats: int | Tensor | None = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each element (slice along `dim`) repeated, one behind the other; NumPy's `repeat`.

    Args:
        repeats: how often, for all or, as a tensor, for each; without it `input` are counts, the result their places.
        dim: None works on the flattened tensor.
        output_size: taken and ignored; PyTorch saves a look at the counts by it.

    >>> repeat_interleave(Tensor([1.0, 2.0]), 2)
    tensor([1., 1., 2., 2.])
    """
    if repeats is None:
        counts = input.array
        return Tensor.of(input.device.xp.repeat(input.device.xp.arange(len(counts)), counts.tolist()))
    if dim is None:
        input, dim = flatten(input), 0
    d = dim_index("repeat_interleave", dim, input.ndim)
    if not input.ndim:
        input = reshape(input, 1)
    often = repeats.array.reshape(-1).tolist() if isinstance(repeats, Tensor) else [int(repeats)]
    if len(often) not in (1, input.shape[d]):
        raise ShapeError(f"repeat_interleave: repeats must be one number or {input.shape[d]}, got {len(often)}")
    if any(n < 0 for n in often):
        raise ArgumentError(f"repeat_interleave: repeats must be 0 or more, got {min(often)}")
    xp = input.device.xp
    return index_select(
        input, d, Tensor.of(xp.repeat(xp.arange(input.shape[d]), often if len(often) > 1 else often[0]))
    )


def concat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The same as `cat`."""
    return cat(tensors, dim)


def concatenate(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The same as `cat`, as NumPy calls it."""
    return cat(tensors, dim)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along the columns; one-dimensional tensors end to end."""
    parts = atleast_1d(list(tensors))
    return cat(parts, 0 if parts and parts[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along the rows; one-dimensional tensors are rows."""
    return cat(atleast_2d(list(tensors)), 0)


def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along the third dimension."""
    return cat(atleast_3d(list(tensors)), 2)


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along the columns; one-dimensional tensors are columns."""
    return cat([reshape(x, x.numel(), 1) if x.ndim < 2 else x for x in tensors], 1)


def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut along `dim` into so many parts, equal up to one element, or before the places listed.

    Args:
        indices_or_sections: a number of parts, or places; a tensor of either kind will do.

    >>> [len(part) for part in tensor_split(Tensor([1.0, 2.0, 3.0]), 2)]
    [2, 1]
    """
    if not input.ndim:
        raise ShapeError("tensor_split: a single number cannot be cut; input needs a dimension")
    d = dim_index("tensor_split", dim, input.ndim)
    length = input.shape[d]
    cuts = indices_or_sections.tolist() if isinstance(indices_or_sections, Tensor) else indices_or_sections
    if isinstance(cuts, int):
        if cuts < 1:
            raise ArgumentError(f"tensor_split: the number of sections must be 1 or more, got {cuts}")
        sizes = [length // cuts + (i < length % cuts) for i in range(cuts)]
        return split(input, sizes, d)
    if not isinstance(cuts, (list, tuple)):
        raise ArgumentError(f"tensor_split: needs a number of sections or a list of places, got {cuts!r}")
    bounds = [slice(a, b) for a, b in zip([None, *cuts], [*cuts, None], strict=True)]
    return tuple(slice_(input, (slice(None),) * d + (piece,)) for piece in bounds)


def split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of the lengths listed along `dim`."""
    return split(input, list(split_sizes), dim)


def hsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """`tensor_split` along the columns; into equal parts only."""
    if not input.ndim:
        raise ShapeError("hsplit: input needs one dimension or more")
    return _equal_split("hsplit", input, indices_or_sections, 0 if input.ndim == 1 else 1)


def vsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """`tensor_split` along the rows; into equal parts only."""
    if input.ndim < 2:
        raise ShapeError(f"vsplit: input needs two dimensions or more, got {input.shape}")
    return _equal_split("vsplit", input, indices_or_sections, 0)


def dsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """`tensor_split` along the third dimension; into equal parts only."""
    if input.ndim < 3:
        raise ShapeError(f"dsplit: input needs three dimensions or more, got {input.shape}")
    return _equal_split("dsplit", input, indices_or_sections, 2)


def _equal_split(name: str, input: Tensor, sections: Any, dim: int) -> tuple[Tensor, ...]:
    if isinstance(sections, int) and (sections < 1 or input.shape[dim] % sections):
        raise ShapeError(f"{name}: {sections} sections do not divide dimension {dim} of length {input.shape[dim]}")
    return tensor_split(input, sections, dim)


def slices(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """All slices of `size` elements along `dimension`, `step` apart, with the elements as the last dimension.

    It is `Tensor.unfold`; `nn.functional.unfold` is another thing.

    >>> slices(Tensor([1.0, 2.0, 3.0]), 0, 2, 1)
    tensor([[1., 2.],
            [2., 3.]])
    """
    if not input.ndim:
        return slices(reshape(input, 1), dimension, size, step)[0]
    d = dim_index("unfold", dimension, input.ndim)
    length = input.shape[d]
    if not 0 <= size <= length or step < 1:
        raise ShapeError(f"unfold: size must be from 0 to {length} and step 1 or more, got {size} and {step}")
    xp, count = input.device.xp, (length - size) // step + 1
    places = xp.arange(count).reshape(-1, 1) * step + xp.arange(size)
    picked = index_select(input, d, Tensor.of(places.reshape(-1)))
    split_up = reshape(picked, [*input.shape[:d], count, size, *input.shape[d + 1 :]])
    return movedim(split_up, d + 1, -1)


def block_diag(*tensors: Tensor) -> Tensor:
    """The matrices along the diagonal, zeros elsewhere; vectors are rows."""
    if any(x.ndim > 2 for x in tensors):
        raise ShapeError(f"block_diag: tensors must have at most two dimensions, got {[x.shape for x in tensors]}")
    blocks = [atleast_2d(x) for x in tensors]
    width = sum(b.shape[1] for b in blocks)
    rows, left = [], 0
    for b in blocks:
        zeros = [b.device.xp.zeros((b.shape[0], n), b.dtype) for n in (left, width - left - b.shape[1])]
        rows.append(cat([Tensor.of(zeros[0]), b, Tensor.of(zeros[1])], 1))
        left += b.shape[1]
    return cat(rows, 0)


def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape that `shapes` broadcast to.

    >>> broadcast_shapes((3, 1), (4,))
    (3, 4)
    """
    return broadcast("broadcast_shapes", *[Spec((s,) if isinstance(s, int) else tuple(s), bool_) for s in shapes])


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors expanded to the shape that they broadcast to."""
    shape = broadcast("broadcast_tensors", *[x.spec for x in tensors])
    return tuple(expand(x, shape) for x in tensors)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinates of a grid: for each one-dimensional tensor, its values over the whole grid.

    Args:
        indexing: "ij" for rows first, "xy" for columns first.
    """
    axes = list(tensors[0]) if len(tensors) == 1 and not isinstance(tensors[0], Tensor) else list(tensors)
    if indexing not in ("ij", "xy"):
        raise ArgumentError(f"meshgrid: indexing must be 'ij' or 'xy', got {indexing!r}")
    if not axes or any(x.ndim > 1 for x in axes):
        raise ShapeError(f"meshgrid: needs tensors of at most one dimension, got {[x.shape for x in axes]}")
    if len({x.dtype for x in axes}) > 1:
        raise ArgumentError(f"meshgrid: tensors must have one element type, got {[str(x.dtype) for x in axes]}")
    turned = indexing == "xy" and len(axes) > 1
    if turned:
        axes[:2] = axes[1::-1]
    lengths = [x.numel() for x in axes]
    grids = [expand(reshape(x, [n if d == i else 1 for d in range(len(axes))]), lengths)
             for i, (x, n) in enumerate(zip(axes, lengths, strict=True))]  # fmt: skip
    if turned:
        grids[:2] = grids[1::-1]
    return tuple(grids)


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """Every combination of one element from each one-dimensional tensor, as rows."""
    if any(x.ndim != 1 for x in tensors):
        raise ShapeError(f"cartesian_prod: tensors must have one dimension, got {[x.shape for x in tensors]}")
    if len(tensors) == 1:
        return tensors[0]
    return stack([flatten(g) for g in meshgrid(*tensors)], 1)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """Every choice of `r` elements of a one-dimensional tensor, in order, as rows.

    >>> combinations(Tensor([1.0, 2.0, 3.0])).shape
    (3, 2)
    """
    if input.ndim != 1 or r < 0:
        raise ShapeError(f"combinations: needs one dimension and r of 0 or more, got {input.shape} and {r}")
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = list(choose(range(input.shape[0]), r))
    xp = input.device.xp
    if not rows or not r:
        return Tensor.of(xp.zeros((0 if not r else len(rows), r)[: 2 if r else 1], input.dtype))
    return reshape(index_select(input, 0, Tensor.of(xp.asarray(sum(rows, ())))), len(rows), r)


def sum_to_size(input: Tensor, *size: Any) -> Tensor:
    """`input` summed to a shape that broadcasts to its own.

    Raises:
        ShapeError: if it does not.
    """
    shape = tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else tuple(size)
    lead = input.ndim - len(shape)
    if lead < 0 or any(n not in (1, m) for n, m in zip(shape, input.shape[lead:], strict=True)):
        raise ShapeError(
            f"sum_to_size: size must have lengths of input {input.shape} or 1, from the last on, got {shape}"
        )
    if shape == input.shape:
        return input
    return sum_to(input.long() if input.dtype == bool_ else input, shape)  # sums of bools are counts
