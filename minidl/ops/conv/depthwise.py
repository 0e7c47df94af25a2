"""Depthwise convolution: every channel with windows of its own, so there is no matrix product to make of it.

Groups of 2, 4 or 8 channels with as many filters are done alike: each channel of a group is spread over the lanes of
the group, and met by a vector of weights of its own (32 groups of 4 joined to matrices of 16 channels: four times the
operations).

Nine multiply-adds on each pixel that is read: memory sets the pace, if the sums keep up. In channels-last memory a
vector holds channels, so the result of a window is the sum over its taps of pixel times weight, both vectors
(`channel_tiles.py`). A call goes through pairs of rows of results; the rows of the image that one sees are listed,
without those above or below the image, and each is read in place. What the next pair reads and writes is fetched bit by
bit meanwhile, in the order in which it lies: 8 images of 96 channels, 48², one core of Zen 4, 1.0 to 0.54 ms.

The input gradient is the same, phase by phase (`regions.py`), and so are dilated windows: those whose taps meet lie as
far apart as taps, or twice as far. In the weight gradient taps and windows change places (`channel_sums.py`).

The last vectors of a pixel begin early enough to end with it, and compute some channels twice. Images with fewer
channels than a vector are filled up, and several filters for a channel see a copy of it each.

2·N·K·OH·OW·k² operations on N·C·H·W + N·K·OH·OW numbers.
"""

from __future__ import annotations

import math

import numpy as np

from minidl.core import Array, Run
from minidl.core.remember import Prepared
from minidl.device import CPU, empty
from minidl.device.scratch import give_back
from minidl.device.threads import Blocks
from minidl.device.vectors import lanes_of
from minidl.ops.conv.depthwise_plan import Plan, plan
from minidl.ops.conv.depthwise_slides import SLIDES
from minidl.ops.conv.depthwise_sums import DOTS
from minidl.ops.conv.epilogue import Epilogue, lifts_of
from minidl.ops.windows import Sizes

PIECES = 16  # of the weight gradient, each with sums of its own


def forward(
    out: Array, x: Array, weight: Array, epilogue: Epilogue, stride: Sizes, padding: Sizes, dilation: Sizes
) -> Run:
    """x (N, *space, C) with weight (K, C / groups, *kernel) to out (N, *windows, K).

    A group has one channel and any number of filters, or as many filters as channels (`MEMBERS`).
    """
    share = len(weight) // x.shape[-1]
    if share == 1:
        return _bound(False, out, x, weight, epilogue, (stride, padding, dilation))
    each = empty(CPU, (*x.shape[:-1], len(weight)), x.dtype)
    run_each = _bound(False, out, each, weight, epilogue, (stride, padding, dilation))

    def run(out: Array, x: Array, weight: Array, bias: Array | None = None, residual: Array | None = None) -> None:
        run_each(out, np.repeat(x, share, -1), weight, bias, residual)

    return run


def backward(
    out: Array, g: Array, weight: Array, epilogue: Epilogue, stride: Sizes, padding: Sizes, dilation: Sizes
) -> Run:
    """The adjoint of `forward` in its image."""
    share = len(weight) // out.shape[-1]
    if share == 1:
        return _bound(True, out, g, weight, epilogue, (stride, padding, dilation))
    shape = (*out.shape[:-1], len(weight))
    run_each = _bound(True, empty(CPU, shape, out.dtype), g, weight, Epilogue(), (stride, padding, dilation))

    def run(out: Array, g: Array, weight: Array, bias: Array | None = None, residual: Array | None = None) -> None:
        each = empty(CPU, shape, out.dtype)
        run_each(each, g, weight)
        each.reshape(*out.shape, share).sum(-1, out=out)
        epilogue.apply(out, bias, residual)

    return run


def weight_gradient(out: Array, x: Array, g: Array, stride: Sizes, padding: Sizes, dilation: Sizes) -> Run:
    """The adjoint of `forward` in its weight: out (K, C / groups, *kernel)."""
    dtype, members, filters = out.dtype, out.shape[1], len(out)
    share, line = filters // x.shape[-1], lanes_of(dtype)
    filled = [(*a.shape[:-1], max(filters, line)) for a in (x, g)]
    cut = plan("weight", *filled, out.shape[2:], stride, padding, dilation, dtype, members)
    pieces, vectors, whole = min(PIECES, cut.calls, cut.units), len(cut.starts), filters // line
    taps = len(cut.order)
    dots = Blocks(DOTS[cut.form], pieces, size=x.nbytes + g.nbytes, block=1)

    def run(out: Array, x: Array, g: Array) -> None:
        x, g = _filled_up(x if share == 1 else np.repeat(x, share, -1)), _filled_up(g)
        sums = empty(CPU, (pieces, vectors, taps, members, line), dtype)
        dots(sums.reshape(-1), x.reshape(-1), g.reshape(-1), cut.sizes, cut.phases, cut.starts, cut.units)
        taps_last = sums.sum(0).reshape(vectors, -1, line).swapaxes(1, 2)
        flat = out.reshape(filters, -1) if members == 1 else empty(CPU, (filters, taps * members), dtype)
        flat[: whole * line].reshape(whole, line, flat.shape[1])[...] = taps_last[:whole]
        flat[max(0, filters - line) :] = taps_last[-1, :filters]
        if members > 1:
            _take_out_of_rings(out, flat)

    return run


def _take_out_of_rings(out: Array, flat: Array) -> None:
    """out[filter j + r of a group, channel j, tap] = flat[channel j, (tap, r)], as `sums_tile` leaves them."""
    members = out.shape[1]
    by_group = out.reshape(-1, members, members, math.prod(out.shape[2:]))
    rings = flat.reshape(len(by_group), members, -1, members)
    channel, further = np.arange(members)[:, None], np.arange(members)
    by_group[:, (channel + further) % members, channel] = rings.transpose(0, 1, 3, 2)


def _bound(
    is_back: bool, out: Array, x: Array, weight: Array, epilogue: Epilogue, steps: tuple[Sizes, Sizes, Sizes]
) -> Run:
    channels, members, dtype = x.shape[-1], weight.shape[1], out.dtype
    if channels < lanes_of(dtype):
        return _bound_filled_up(is_back, out, x, weight, epilogue, steps)
    cut = plan("input" if is_back else "forward", x.shape, out.shape, weight.shape[2:], *steps, dtype, members)
    size = len(cut.starts) * lanes_of(dtype) * len(cut.order) * members

    def pack(room: Array, weight: Array) -> None:
        _pack(room[:size], cut, _by_lane(weight, is_back))

    weights = Prepared(("depthwise", is_back, cut.order.tobytes()), size, pack)
    lift, adds, floor = lifts_of(channels, dtype), epilogue.has_residual, epilogue.floor
    slide = Blocks(SLIDES[cut.form], cut.units, size=out.nbytes + x.nbytes, block=-(-cut.units // cut.calls))

    def run(out: Array, x: Array, weight: Array, bias: Array | None = None, residual: Array | None = None) -> None:
        packed, lent = weights.of(weight)
        start = lift(bias) if residual is None else residual if bias is None else residual + lift(bias)
        slide(out.reshape(-1), x.reshape(-1), packed, start.reshape(-1), adds, floor, cut.sizes, cut.phases, cut.starts)
        give_back(lent)

    return run


def _bound_filled_up(
    is_back: bool, out: Array, x: Array, weight: Array, epilogue: Epilogue, steps: tuple[Sizes, Sizes, Sizes]
) -> Run:
    """The same where a pixel has fewer channels than a vector."""
    shape, channels = (*out.shape[:-1], lanes_of(x.dtype)), x.shape[-1]
    given = empty(CPU, (*x.shape[:-1], lanes_of(x.dtype)), x.dtype)
    run_wider = _bound(is_back, empty(CPU, shape, out.dtype), given, weight, epilogue, steps)

    def run(out: Array, x: Array, weight: Array, bias: Array | None = None, residual: Array | None = None) -> None:
        wider = empty(CPU, shape, out.dtype)
        run_wider(wider, _filled_up(x), weight, bias, None if residual is None else _filled_up(residual))
        out[...] = wider[..., :channels]

    return run


def _by_lane(weight: Array, is_back: bool) -> Array:
    """(lane, member that it sees, tap): lanes are filters, on the way back channels."""
    members = weight.shape[1]
    by_group = weight.reshape(-1, members, members if members > 1 else 1, math.prod(weight.shape[2:]))
    return (by_group.swapaxes(1, 2) if is_back else by_group).reshape(len(weight), members, -1)


def _pack(packed: Array, cut: Plan, weight: Array) -> None:
    """Write the weights as [vector][tap][member][lane], taps in the order of their phases."""
    line = lanes_of(weight.dtype)
    flat = (weight if cut.is_plain else weight[..., cut.order]).swapaxes(1, 2).reshape(len(weight), -1)
    by_vector, whole = packed.reshape(len(cut.starts), -1, line), len(weight) // line
    by_vector[:whole] = flat[: whole * line].reshape(whole, line, flat.shape[1]).swapaxes(1, 2)
    by_vector[-1, :, : len(weight)] = flat[max(0, len(weight) - line) :].T


def _filled_up(images: Array) -> Array:
    """With zeros behind the channels, if they are fewer than a vector holds."""
    missing = lanes_of(images.dtype) - images.shape[-1]
    return images if missing <= 0 else np.pad(images, [(0, 0)] * (images.ndim - 1) + [(0, missing)])
