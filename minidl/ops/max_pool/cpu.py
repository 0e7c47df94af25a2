"""The Numba kernels of max pooling; planes are the images of all channels of all samples."""

from __future__ import annotations

from minidl.core import Array
from minidl.device import kernel


@kernel(
    "T[:, :, ::1], int64[:, :, ::1], const T[:, :, ::1], intp, intp, intp, intp, intp, intp, intp, intp",
    T=("float32", "float64"),
)
def max_pool_planes(
    begin: int, end: int, best: Array, place: Array, x: Array,
    kh: int, kw: int, sh: int, sw: int, ph: int, pw: int, dh: int, dw: int,
) -> None:  # fmt: skip
    rows, columns = x.shape[1], x.shape[2]
    for plane in range(begin, end):
        for r in range(best.shape[1]):
            for q in range(best.shape[2]):
                top, at = x[plane, 0, 0], -1
                for a in range(kh):
                    i = r * sh - ph + a * dh
                    if i < 0 or i >= rows:
                        continue
                    for b in range(kw):
                        j = q * sw - pw + b * dw
                        if 0 <= j < columns:
                            value = x[plane, i, j]
                            if at < 0 or value > top or value != value:
                                top, at = value, i * columns + j
                best[plane, r, q] = top
                place[plane, r, q] = at


@kernel("T[:, ::1], const T[:, ::1], const int64[:, ::1]", T=("float32", "float64"))
def spread_planes(begin: int, end: int, out: Array, g: Array, place: Array) -> None:
    for plane in range(begin, end):
        for i in range(out.shape[1]):
            out[plane, i] = 0
        for i in range(g.shape[1]):
            out[plane, place[plane, i]] += g[plane, i]
