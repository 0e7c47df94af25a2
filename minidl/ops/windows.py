"""Windows that slide over an image: sizes, and the offsets ("taps") inside one, for convolution and pooling.

Written for any number of spatial dimensions. A kernel that loops over taps handles, for each, all windows at once.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias, TypeVar

from minidl.errors import ShapeError

Sizes: TypeAlias = tuple[int, ...]
Found = TypeVar("Found")


class Tap(NamedTuple):
    """One offset inside the window."""

    offset: Sizes
    windows: tuple[slice, ...]  # the windows in which the offset falls on the image, not on its padding
    pixels: tuple[slice, ...]  # the pixels it falls on there


@functools.lru_cache(maxsize=1024)
def taps(
    image: Sizes, windows: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes
) -> tuple[Tap, ...]:
    """Every tap that falls on the image in some window.

    Args:
        image: lengths of the image.
        windows: how many windows there are along each dimension.
        kernel, stride, padding, dilation: as in convolution; padding is that before the image, and a negative one
            leaves out its first pixels.
    """
    return tuple(_taps(image, windows, kernel, stride, padding, dilation))


def _taps(image: Sizes, windows: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Iterator[Tap]:
    per_dim = [
        [(k, *_range(n, w, s, k * d - p)) for k in range(kernel_size)]
        for n, w, kernel_size, s, p, d in zip(image, windows, kernel, stride, padding, dilation, strict=True)
    ]
    for combination in itertools.product(*per_dim):
        if all(first < last for _, first, last, _ in combination):
            yield Tap(
                tuple(k for k, *_ in combination),
                tuple(slice(first, last) for _, first, last, _ in combination),
                tuple(
                    slice(pixel, pixel + (last - first - 1) * s + 1, s)
                    for (_, first, last, pixel), s in zip(combination, stride, strict=True)
                ),
            )


def _range(length: int, windows: int, stride: int, shift: int) -> tuple[int, int, int]:
    """The windows w with 0 <= w * stride + shift < length: first, one past the last, and the first one's pixel."""
    first = max(0, -(shift // stride)) if shift < 0 else 0
    last = min(windows, (length - 1 - shift) // stride + 1)
    return first, last, first * stride + shift


def window_count(
    op: str, image: Sizes, kernel: Sizes, stride: Sizes, padding: tuple[Any, ...], dilation: Sizes
) -> Sizes:
    """How many whole windows fit into the padded image along each dimension.

    Args:
        padding: for each dimension one number for both sides, or a pair.

    Raises:
        ShapeError: if a window does not fit.
    """
    counts = []
    for n, k, s, p, d in zip(image, kernel, stride, padding, dilation, strict=True):
        before, after = p if isinstance(p, tuple) else (p, p)
        room = n + before + after - d * (k - 1) - 1
        if room < 0:
            raise ShapeError(
                f"{op}: a kernel of {_by(kernel)} (dilation {_by(dilation)}) does not fit into an image of "
                f"{_by(image)} with padding {before}"
            )
        counts.append(room // s + 1)
    return tuple(counts)


def found_once(rule: Callable[..., Found]) -> Callable[..., Found]:
    """`rule` with its results remembered, where its arguments can be looked up; a list cannot, and is no error."""
    remembered = functools.lru_cache(maxsize=1024, typed=True)(rule)  # 1.0 is no size, though it equals 1

    @functools.wraps(rule)
    def found(*args: Any) -> Found:
        try:
            return remembered(*args)
        except TypeError:
            return rule(*args)

    return found


def sizes(op: str, argument: str, value: Any, dims: int, *, least: int) -> Sizes:
    """`value` for each of `dims` dimensions: one whole number (of Python or NumPy) for all, or one for each.

    Raises:
        ShapeError: if it is neither, or below `least`.
    """
    if type(value) is int and value >= least:
        return (value,) * dims
    if type(value) is tuple and len(value) == dims:  # the usual case: every layer asks for four of them
        for v in value:
            if type(v) is not int or v < least:
                break
        else:
            return value
    try:
        given = tuple(operator.index(v) for v in (value if hasattr(value, "__len__") else (value,)))
    except TypeError:
        given = ()
    if len(given) == 1:
        given *= dims
    if len(given) != dims or min(given) < least:
        several = f", or {dims} of them" if dims > 1 else ""
        raise ShapeError(f"{op}: {argument} must be a whole number from {least} up{several}, got {value!r}")
    return given


def _by(lengths: Sizes) -> str:
    return " x ".join(map(str, lengths))
