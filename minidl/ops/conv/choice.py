"""Which algorithm a convolution takes: one rule, open to the user.

| algorithm | is for |
|---|---|
| winograd | 3×3, stride 1, one group, 16 channels and filters or more, unless the precision is "exact" |
| depthwise | as many groups as channels |
| implicit | all other 1-d and 2-d convolutions of float32 or float64 |
| im2col | large weights on images of fewer than 64 windows (other than Winograd's); 3-d; other number types; no Numba |

"implicit" takes one image at a time, so it reads all weights for a few windows: 256 to 512 channels, 3×3 stride 2 on
7×7, take 2 times as long as with im2col, whose columns join the images of a batch; on 28×28 it is even, above faster.
"""

from __future__ import annotations

from minidl.errors import KernelError
from minidl.ops.windows import Sizes

ALGORITHMS = ("auto", "direct", "implicit", "im2col", "winograd")
PRECISIONS = ("exact", "fast")
FEW_WINDOWS, LARGE_WEIGHT = 64, 128 * 128  # of an image; channels times filters
WINOGRAD_CHANNELS = 16  # below, the transforms cost more than the products save
_chosen = {"algorithm": "auto", "precision": "fast"}


def set_conv_algorithm(algorithm: str) -> None:
    """Let convolutions run by one algorithm wherever it can do them: "implicit", "im2col", "winograd"; or "auto".

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


def has_kernel(dims: int) -> bool:
    """Whether convolutions with so many spatial dimensions run on compiled kernels now."""
    return _chosen["algorithm"] != "im2col"


def algorithm(
    what: str, images: int, weight: Sizes, windows: Sizes, stride: Sizes, dilation: Sizes, groups: int
) -> str:
    """The kernels for a convolution with a weight (K, C / groups, *kernel) and so many windows."""
    if groups > 1 and weight[1] == 1:
        return "depthwise"
    can_winograd = weight[2:] == (3, 3) and stride == dilation == (1, 1) and groups == 1
    can_direct = len(windows) <= 2 and groups == 1 and (what != "input" or max(stride) == 1)
    if _chosen["algorithm"] == "winograd":
        return "winograd" if can_winograd else "implicit"
    if _chosen["algorithm"] == "direct":
        return "direct" if can_direct else "implicit"
    if _chosen["algorithm"] != "auto":
        return "implicit"
    pays = min(weight[:2]) >= WINOGRAD_CHANNELS and min(windows) > 2  # with less, most of a 4×4 tile is idle
    if can_winograd and pays and _chosen["precision"] == "fast":
        return "winograd"
    return "implicit"


def _choose(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise KernelError(f"set_conv_{what}: {what} must be one of {', '.join(known)}, got {value!r}")
    _chosen[what] = value
