"""How a depthwise convolution is cut for its kernels: phases, vectors of channels, and units of work."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from minidl.core import Array
from minidl.device.channel_tiles import MEMBERS
from minidl.device.dtypes import DType
from minidl.device.vectors import lanes_of
from minidl.ops.conv.regions import Way, backward_way, calls_for, forward_way
from minidl.ops.conv.volumes import in_three, space_of
from minidl.ops.windows import Sizes

COST = 4  # a product takes as long as so many operations of a matrix product
BLOCKS = 32  # pieces that threads share out
LEAST_WINDOWS = 64  # of a stretch of rows whose sums stay in registers
NEAR_BYTES = 1 << 20  # what the second-level cache holds is not fetched ahead
FIRST, STEP, COUNT, PLACE = range(4)  # of a phase: its first tap's pixel, from tap to tap, taps, their first weight
# Members of a group, taps of a run, and windows so many of its pixels apart: long runs first, and (members, 1, 1) last.
FORMS = (
    *((1, run, ratio) for run in (7, 5, 3) for ratio in (1, 2)),
    *((members, 3, ratio) for members in (2, 4) for ratio in (1, 2)),
    *((members, 1, 1) for members in MEMBERS),
)


class Plan(NamedTuple):
    """How one convolution is cut: sizes, phases and table for the kernels."""

    sizes: Array
    phases: Array  # [dimension, phase, `FIRST` to `PLACE`]
    starts: Array  # the first channel of each vector
    order: Array  # of the taps
    is_plain: bool  # whether that is their own order
    form: tuple[int, int, int]  # members, taps of a run, windows a run's pixels lie apart
    units: int  # pairs of rows of results, or stretches of rows of windows, in all images
    calls: int


@functools.lru_cache(maxsize=512)
def plan(
    what: str, x: Sizes, out: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, dtype: DType,
    members: int = 1,
) -> Plan:  # fmt: skip
    """Sort out phases and vectors, and count the work of a pass: "forward", "input" or "weight"."""
    kernel, *steps = in_three(kernel, stride, padding, dilation)
    way = (backward_way if what == "input" else forward_way)(kernel, *steps)
    phases, in_step, out_step = phases_of(way)
    pixels, results, channels = space_of(x), space_of(out), x[-1]
    planes, line = x[0] * results[0], lanes_of(dtype)
    lines = max(1, -(-LEAST_WINDOWS // results[2])) if what == "weight" else 2
    in_plane = -(-results[1] // lines)
    if what != "weight":
        apart = min(out_step[1], results[1])
        in_plane = apart * -(-results[1] // (2 * out_step[1]))
    is_large = dtype.itemsize * (math.prod(x) + math.prod(out)) > NEAR_BYTES
    sizes = (channels, *pixels, *results, *kernel, *in_step, *out_step, lines, in_plane, is_large)
    order = way.tap_order(kernel)
    starts = [max(0, min(first, channels - line)) for first in range(0, channels, line)]
    operations = 2 * COST * planes * results[1] * results[2] * channels * members * len(order)
    return Plan(np.array(sizes, np.int64), phases, np.array(starts, np.int64), np.array(order, np.int64),
                order == [*range(len(order))], _form_of(members, way, in_step[2] // int(phases[2, 0, STEP])),
                planes * in_plane, calls_for(operations // math.prod(way.out_step), BLOCKS))  # fmt: skip


def phases_of(way: Way) -> tuple[Array, Sizes, Sizes]:
    """The phases as numbers: results `out_step` apart see taps of their own (see `Line`).

    Where taps lie further apart than windows, there are more phases, in whose windows they lie as far apart or nearer.
    """
    often = []
    for lines, in_step in zip(way.lines, way.in_step, strict=True):
        apart = max([line.step for line in lines if len(line.taps) > 1], default=in_step)
        often.append((apart, apart // math.gcd(apart, in_step)))
    out_step = tuple([n * step for step, (_, n) in zip(way.out_step, often, strict=True)])
    phases = np.zeros((3, max(out_step), 4), np.int64)
    for dim, lines in enumerate(way.lines):
        place, (apart, further) = 0, often[dim]
        for line in lines:
            for n in range(further):
                first = line.first + n * way.in_step[dim]
                phases[dim, line.start + n * way.out_step[dim]] = first, apart, len(line.taps), place
            place += len(line.taps)
    return phases, tuple([n * step for step, (_, n) in zip(way.in_step, often, strict=True)]), out_step


def _form_of(members: int, way: Way, ratio: int) -> tuple[int, int, int]:
    """The longest run that fits all rows of taps."""
    for form in FORMS:
        if form[0] == members and form[2] == ratio and not any(len(line.taps) % form[1] for line in way.lines[2]):
            return form
    return members, 1, 1
