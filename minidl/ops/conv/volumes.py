"""Signals and images as volumes of one row and one plane, so that a kernel is written for three dimensions alone."""

from __future__ import annotations

from minidl.ops.windows import Sizes


def volumes(shape: Sizes) -> Sizes:
    """(N, columns, C) and (N, rows, columns, C) as (N, planes, rows, columns, C)."""
    return (shape[0], *[1] * (5 - len(shape)), *shape[1:])


def space_of(shape: Sizes) -> Sizes:
    """The three lengths of images (N, *space, C)."""
    return volumes(shape)[1:-1]


def in_three(kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> list[Sizes]:
    """The same window in three dimensions: those that are not there have length 1."""
    fills = zip((kernel, stride, padding, dilation), (1, 1, 0, 1), strict=True)
    return [(*[fill] * (3 - len(sizes)), *sizes) for sizes, fill in fills]
