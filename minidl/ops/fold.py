"""fold and unfold: images as the columns of their windows, and back. Each is the other's adjoint."""

from __future__ import annotations

import math
from typing import Any

from minidl.core import Array, Grads, Node, Op, Spec, Tensor
from minidl.errors import ShapeError
from minidl.ops.windows import Sizes, sizes, taps, window_count

__all__ = ["fold", "unfold"]


class Unfold(Op):
    """(N, C, H, W) to (N, C, kH, kW, OH, OW): every window, zeros outside of the image."""

    name = "unfold"

    @staticmethod
    def infer(
        x: Spec, *, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, windows: Sizes, image: Sizes
    ) -> Spec:
        return x.with_shape(*x.shape[:2], *kernel, *windows)

    @staticmethod
    def reference(
        xp: Any, out: Array, x: Array,
        *, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, windows: Sizes, image: Sizes,
    ) -> None:  # fmt: skip
        out[...] = 0
        for tap in taps(image, windows, kernel, stride, padding, dilation):
            out[(slice(None), slice(None), *tap.offset, *tap.windows)] = x[(..., *tap.pixels)]

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (Fold.apply(g, **node.params),)


class Fold(Op):
    """Add every window's elements at the pixels that they lie on."""

    name = "fold"

    @staticmethod
    def infer(
        x: Spec, *, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, windows: Sizes, image: Sizes
    ) -> Spec:
        return x.with_shape(*x.shape[:2], *image)

    @staticmethod
    def reference(
        xp: Any, out: Array, x: Array,
        *, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, windows: Sizes, image: Sizes,
    ) -> None:  # fmt: skip
        out[...] = 0
        for tap in taps(image, windows, kernel, stride, padding, dilation):
            out[(..., *tap.pixels)] += x[(slice(None), slice(None), *tap.offset, *tap.windows)]

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (Unfold.apply(g, **node.params),)


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The windows of images as columns, the way convolution sees them.

    Args:
        input: (N, C, H, W) or (C, H, W).
        kernel_size, dilation, padding, stride: as for `conv2d`.

    Returns:
        (N, C kH kW, L), a column for each of the L windows.

    Raises:
        ShapeError: if a window does not fit.
    """
    if input.ndim not in (3, 4) or not math.prod(input.shape[-3:]):
        raise ShapeError(f"unfold: input must be (N, C, H, W) or (C, H, W), not empty; got {input.shape}")
    if input.ndim == 3:
        return unfold(input.unsqueeze(0), kernel_size, dilation, padding, stride).squeeze(0)
    image = input.shape[2:]
    window = _window("unfold", image, kernel_size, dilation, padding, stride)
    columns: Tensor = Unfold.apply(input, **window)
    return columns.reshape(len(input), input.shape[1] * math.prod(window["kernel"]), math.prod(window["windows"]))


def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Images from columns of windows; where windows overlap they add up.

    Args:
        input: (N, C kH kW, L) or (C kH kW, L).
        output_size: (H, W) of the images.
        kernel_size, dilation, padding, stride: as for `conv2d`.

    Raises:
        ShapeError: if the numbers of rows or columns do not fit.
    """
    if input.ndim not in (2, 3):
        raise ShapeError(f"fold: input must be (N, C kH kW, L), got {input.shape}")
    if input.ndim == 2:
        return fold(input.unsqueeze(0), output_size, kernel_size, dilation, padding, stride).squeeze(0)
    image = sizes("fold", "output_size", output_size, 2, least=1)
    window = _window("fold", image, kernel_size, dilation, padding, stride)
    taps_, count = math.prod(window["kernel"]), math.prod(window["windows"])
    if input.shape[1] % taps_ or input.shape[2] != count or not input.shape[1]:
        raise ShapeError(
            f"fold: input must be (N, a multiple of {taps_}, {count}) for images of {image}, got {input.shape}"
        )
    columns = input.reshape(len(input), input.shape[1] // taps_, *window["kernel"], *window["windows"])
    result: Tensor = Fold.apply(columns, **window)
    return result


def _window(name: str, image: Sizes, kernel: Any, dilation: Any, padding: Any, stride: Any) -> dict[str, Sizes]:
    params = {
        "kernel": sizes(name, "kernel_size", kernel, 2, least=1),
        "stride": sizes(name, "stride", stride, 2, least=1),
        "padding": sizes(name, "padding", padding, 2, least=0),
        "dilation": sizes(name, "dilation", dilation, 2, least=1),
    }
    windows = window_count(name, image, params["kernel"], params["stride"], params["padding"], params["dilation"])
    return {**params, "windows": windows, "image": image}
