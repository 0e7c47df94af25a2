"""Which algorithm a convolution takes: the one with the least estimated time, open to the user.

| algorithm | can do | is for |
|---|---|---|
| depthwise | as many groups as channels, or groups of 2, 4 or 8 channels and filters | all of them |
| winograd | one group, where it multiplies less than the plain sum | most of them, unless the precision is "exact" |
| direct | one group, up to 8 channels or filters; input gradient: stride 1 | first layers, output heads |
| implicit | anything of float32 or float64 | the rest |
| im2col | anything | other number types; no Numba |

The estimates are rates and costs measured on one core of a Zen 3 (AVX2, vectors of 8 float32). With AVX-512 a vector
has 16 lanes, and a rate is twice as high where there are channels and filters to fill them; checked on a Zen 5. Other
machines have other rates, but the algorithms' ratios, which are what counts, are those of their operations. `minidl
tune` measures this machine and corrects the estimates (`times.py`); `minidl.conv_algorithms` shows them.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from minidl.device import numba_status
from minidl.device.channel_tiles import MEMBERS
from minidl.device.determinism import is_batch_invariant
from minidl.device.settings import changed, on_change
from minidl.device.vectors import lanes_of
from minidl.errors import KernelError
from minidl.ops.conv.times import Factors, factors
from minidl.ops.conv.winograd_way import Way, backward_way, forward_way
from minidl.ops.windows import Sizes, sizes, window_count

ALGORITHMS = ("auto", "direct", "implicit", "im2col", "winograd")
PRECISIONS = ("exact", "fast")
PASSES = ("forward", "input", "weight")
FEW = 8  # channels or filters that "direct" takes
_chosen = {"algorithm": "auto", "precision": "fast"}


class Work(NamedTuple):
    """One pass of a convolution: "forward", or the gradient of the "input" or of the "weight"."""

    what: str
    images: int
    channels: int  # of one group
    filters: int  # of all groups
    kernel: Sizes
    windows: Sizes
    stride: Sizes
    dilation: Sizes
    groups: int

    @property
    def can_winograd(self) -> bool:
        """Whether there is a way (`winograd_way.py`) that multiplies less than the plain sum."""
        way = self.way
        is_less = way is not None and way.cost * math.prod(self.back_stride) < math.prod(self.kernel)
        return self.groups == 1 and is_less

    @property
    def way(self) -> Way | None:
        """Winograd's, if padding is about half of the window."""
        found = backward_way if self.what == "input" else forward_way
        return found(self.kernel, self.stride, tuple([k // 2 for k in self.kernel]), self.dilation)

    @property
    def results(self) -> Sizes:
        """Planes, rows and columns of what is made: of windows, or of the image."""
        return tuple([n * s for n, s in zip(self.windows, self.back_stride, strict=True)])

    @property
    def back_stride(self) -> Sizes:
        """Pixels for each window in what is made."""
        return self.stride if self.what == "input" else (1,) * len(self.stride)

    @property
    def can_depthwise(self) -> bool:
        """Whether a group is one channel, or few of them with as many filters: lanes of half a vector."""
        is_small = self.channels in MEMBERS[1:] and (_lanes() // 2) % self.channels == 0
        return self.groups > 1 and (self.channels == 1 or (is_small and self.channels * self.groups == self.filters))

    @property
    def can_direct(self) -> bool:
        is_few = min(self.channels, self.filters) <= FEW
        return is_few and self.groups == 1 and (self.what != "input" or max(self.stride) == 1)

    @property
    def flops(self) -> int:
        """Of the plain sum."""
        taps = math.prod(self.kernel)
        return 2 * self.images * math.prod(self.windows) * self.filters * self.channels * taps


def estimates(work: Work, measured: Factors | None = None) -> dict[str, float]:
    """Microseconds that each algorithm is thought to take on one core, for those that can do it.

    Args:
        measured: what to multiply by; this machine's (`minidl tune`) if None.
    """
    machine = factors() if measured is None else measured
    return {name: us * machine.get(name, {}).get(work.what, 1.0) for name, us in _estimates(work).items()}


def _estimates(work: Work) -> dict[str, float]:
    if work.can_depthwise:
        return {"depthwise": 60 + work.flops / (2e3 * work.channels * _lanes())}
    found = {"implicit": _implicit(work)}
    if work.can_direct:
        found["direct"] = _direct(work)
    is_wide = min(work.channels, work.filters) >= FEW
    if work.can_winograd and is_wide and _chosen["precision"] == "fast":
        found["winograd"] = _winograd(work)
    return found


@functools.cache
def _lanes() -> int:
    """How many float32 a vector holds; without Numba nothing depends on it."""
    return lanes_of(np.dtype(np.float32)) if numba_status() else 8


def _padded(count: int) -> int:
    """So many channels or filters in whole vectors."""
    return math.ceil(count / _lanes()) * _lanes()


def _implicit(work: Work) -> float:
    """10 GFLOP/s a lane; vectors that few filters (for the gradients: channels) do not fill take as long as others."""
    columns = work.filters if work.what == "forward" else work.channels
    rate = 10e3 if work.what != "weight" else 7.5e3 if min(work.channels, work.filters) > 8 else 2e3
    summed = work.channels if work.what != "input" else work.filters
    begun = 1 + 2 / (work.kernel[-1] * summed)  # each row of taps takes two steps longer
    return 60 + begun * work.flops * _padded(columns) / columns / (rate * _lanes())


def _direct(work: Work) -> float:
    """9 GFLOP/s a lane with filters in the lanes, or channels where there are few filters."""
    channels, filters = (work.channels, work.filters) if work.what != "input" else (work.filters, work.channels)
    columns = channels if filters < _lanes() <= channels else filters
    return 50 + work.flops * _padded(columns) / columns / (9e3 * _lanes())


def _winograd(work: Work) -> float:
    """Products at 8 GFLOP/s a lane, transforms of patches (65 ns a vector of 36 positions), of results (40 ns) and of
    weights."""
    pair, lanes, way = work.channels * work.filters, _lanes(), work.way
    assert way is not None, "estimates asks only where there is one"
    pieces, phases, positions = len(way.pieces), len(way.phases), way.form.positions
    tiles = way.total(work.images, (1, 1, *work.results)[-3:])
    channels, filters = (work.channels, work.filters) if work.what != "input" else (work.filters, work.channels)
    ends = pieces * _padded(channels) // lanes * 65 + phases * _padded(filters) // lanes * 40
    weights = (25 if work.what == "weight" else 20) * pair
    full = _padded(pieces * channels) * _padded(filters) * phases
    return (
        90 + positions / 36 * (72 * full * tiles / (8 * lanes) + tiles * ends * 1.2 + weights * pieces * phases) / 1e3
    )


def algorithm(
    what: str, images: int, weight: Sizes, windows: Sizes, stride: Sizes, dilation: Sizes, groups: int
) -> str:
    """The kernels for one pass of a convolution with a weight (K, C / groups, *kernel) and so many windows."""
    images = 1 if is_batch_invariant() else images
    work = Work(what, images, weight[1], weight[0], weight[2:], windows, stride, dilation, groups)
    return _taken(work, **_chosen)


@functools.lru_cache(maxsize=1024)
def _taken(work: Work, algorithm: str, precision: str) -> str:
    """What is taken under these wishes (`estimates` knows of the precision)."""
    if work.can_depthwise:
        return "depthwise"
    if algorithm == "auto":
        found = estimates(work)
        return min(found, key=found.__getitem__)
    can = {"winograd": work.can_winograd, "direct": work.can_direct}
    return algorithm if can.get(algorithm) else "implicit"


on_change(_taken.cache_clear)


def conv_algorithms(
    input_shape: Sizes, weight_shape: Sizes, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> dict[str, dict[str, float]]:
    """Estimated microseconds on one core of all algorithms that could do a convolution, for each of its three passes.

    Args:
        input_shape: (N, C, *space).
        weight_shape: (K, C / groups, *kernel).
        stride, padding, dilation, groups: as in `conv2d`.

    Returns:
        For "forward", "input" and "weight" (the gradients): the algorithms, the one that is taken first.

    Raises:
        ShapeError: if the window does not fit.

    >>> list(conv_algorithms((8, 64, 32, 32), (64, 64, 3, 3), padding=1)["forward"])
    ['winograd', 'implicit']
    """
    dims = len(weight_shape) - 2
    names = {"stride": (stride, 1), "padding": (padding, 0), "dilation": (dilation, 1)}
    steps = {name: sizes("conv_algorithms", name, value, dims, least=least) for name, (value, least) in names.items()}
    windows = window_count("conv_algorithms", tuple(input_shape[2:]), tuple(weight_shape[2:]), *steps.values())
    found = {}
    for what in PASSES:
        work = Work(what, input_shape[0], weight_shape[1], weight_shape[0], tuple(weight_shape[2:]), windows,
                    steps["stride"], steps["dilation"], groups)  # fmt: skip
        taken = algorithm(
            what, input_shape[0], tuple(weight_shape), windows, steps["stride"], steps["dilation"], groups
        )
        known = estimates(work)
        found[what] = {name: known[name] for name in sorted(known, key=lambda name: (name != taken, known[name]))}
    return found


def set_conv_algorithm(algorithm: str) -> None:
    """Let convolutions run by one algorithm wherever it can do them: "direct", "implicit", "im2col", "winograd".

    "auto" (the default) chooses by estimates, which `conv_algorithms` shows.

    Raises:
        KernelError: if there is no such algorithm.
    """
    _choose("algorithm", algorithm, ALGORITHMS)


def set_conv_precision(precision: str) -> None:
    """Choose between rounding and time in 3×3 convolutions.

    Args:
        precision: "fast" (the default) may use Winograd's algorithm, whose errors are about 1e-5 of the largest result
            in float32; "exact" takes plain sums only, about 1e-6, exact for whole numbers, and keeps a NaN to the
            windows that see it.

    Raises:
        KernelError: if it is neither.
    """
    _choose("precision", precision, PRECISIONS)


def is_exact() -> bool:
    """Whether convolutions must keep a NaN to the results that see it, and rounding to that of plain sums."""
    return _chosen["precision"] == "exact"


def has_kernel(dims: int) -> bool:
    """Whether convolutions with so many spatial dimensions run on compiled kernels now."""
    return _chosen["algorithm"] != "im2col"


def _choose(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise KernelError(f"set_conv_{what}: {what} must be one of {', '.join(known)}, got {value!r}")
    _chosen[what] = value
    changed()
