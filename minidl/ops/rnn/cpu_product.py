"""What the compiled sweeps share: the product of a few rows with the weight, and who takes which arrays.

Rows of a batch do not know of each other, so a block of rows goes through all steps alone: threads never wait for each
other inside a sweep. The price is that the product of each step is that of a few rows with the whole weight, which is
read again for every four rows; it must stay in the second-level cache.
"""

from __future__ import annotations

from typing import Any

from minidl.device import Array, inline
from minidl.device.scalar_math import fma

ROWS = 8  # of one block; 4 was up to 20 % slower at H 32, and 16 to 64 no faster


@inline
def add_product(total: Array, rows: Array, weight: Array) -> None:
    """total += rows @ weight, in float: (R, W), (R, D) and (D, W).

    Four rows by four of D at a time: 16 multiply-adds for 8 loads and 4 stores. Each number is summed in the order of
    D, whatever the block it falls into. One core, float32: 53 to 108 GFLOP/s for H from 32 to 128, where
    OpenBLAS has 81 to 120 on 64 rows.
    """
    depth = rows.shape[1]
    whole = depth - depth % 4
    in_fours = rows.shape[0] - rows.shape[0] % 4
    for n in range(0, in_fours, 4):
        a0, a1, a2, a3 = rows[n], rows[n + 1], rows[n + 2], rows[n + 3]
        t0, t1, t2, t3 = total[n], total[n + 1], total[n + 2], total[n + 3]
        for d in range(0, whole, 4):
            _four_rows(t0, t1, t2, t3, a0[d : d + 4], a1[d : d + 4], a2[d : d + 4], a3[d : d + 4], weight[d : d + 4])
    for n in range(in_fours, rows.shape[0]):
        for d in range(0, whole, 4):
            _one_row(total[n], rows[n, d : d + 4], weight[d : d + 4])
    for n in range(rows.shape[0]):
        for d in range(whole, depth):
            scale, line, weights = rows[n, d], total[n], weight[d]
            for j in range(line.size):
                line[j] = fma(scale, weights[j], line[j])


@inline
def _four_rows(t0: Any, t1: Any, t2: Any, t3: Any, a0: Any, a1: Any, a2: Any, a3: Any, weight: Any) -> None:
    w0, w1, w2, w3 = weight[0], weight[1], weight[2], weight[3]
    a00, a01, a02, a03 = a0[0], a0[1], a0[2], a0[3]
    a10, a11, a12, a13 = a1[0], a1[1], a1[2], a1[3]
    a20, a21, a22, a23 = a2[0], a2[1], a2[2], a2[3]
    a30, a31, a32, a33 = a3[0], a3[1], a3[2], a3[3]
    for j in range(t0.size):
        x0, x1, x2, x3 = w0[j], w1[j], w2[j], w3[j]
        t0[j] = fma(a03, x3, fma(a02, x2, fma(a01, x1, fma(a00, x0, t0[j]))))
        t1[j] = fma(a13, x3, fma(a12, x2, fma(a11, x1, fma(a10, x0, t1[j]))))
        t2[j] = fma(a23, x3, fma(a22, x2, fma(a21, x1, fma(a20, x0, t2[j]))))
        t3[j] = fma(a33, x3, fma(a32, x2, fma(a31, x1, fma(a30, x0, t3[j]))))


@inline
def _one_row(total: Any, a: Any, weight: Any) -> None:
    a0, a1, a2, a3 = a[0], a[1], a[2], a[3]
    w0, w1, w2, w3 = weight[0], weight[1], weight[2], weight[3]
    for j in range(total.size):
        total[j] = fma(a3, w3[j], fma(a2, w2[j], fma(a1, w1[j], fma(a0, w0[j], total[j]))))


@inline
def copy(target: Array, source: Array) -> None:
    """target[:] = source, which Numba makes a slower loop of."""
    for j in range(target.size):
        target[j] = source[j]


@inline
def clear(target: Array) -> None:
    """target[:] = 0."""
    for j in range(target.size):
        target[j] = 0


@inline
def state_before(states: Array, start: Array, t: int, n: int, length: int, reverse: bool) -> Array:
    """Row `n` of the state that step `t` began with."""
    if reverse:
        return states[t + 1, n] if t + 1 < length else start[n]
    return states[t - 1, n] if t > 0 else start[n]


def one_type(arrays: tuple[Array, ...]) -> bool:
    """Whether all numbers are of one type, which the kernels need."""
    return all(a.dtype == arrays[0].dtype for a in arrays if a.dtype.kind == "f")


def gates_take(arrays: tuple[Array, ...], weight: Array) -> bool:
    """Whether the kernels of LSTM and GRU take the call: up to 1 MB of weight, H 256 of an LSTM in float32.

    How many times as fast as the reference, forward and backward (with the gradient of the weight), float32, best of 12
    runs in turn on one core of a Xeon with AVX-512, the reference with one thread of OpenBLAS:

        T    N    H     LSTM          GRU
        128  512   32    2.0, 1.07     2.9, 1.05
        256   64  128    1.9, 1.00     2.4, 1.15
         64  128   64    2.4, 1.04     3.0, 1.15
        128   32   64    3.3, 1.43     4.8, 1.64
        128    8   32   11.5, 6.2     20.8, 6.8
         64   64  256    1.2, 1.01     1.8, 0.99
         32   64  512    0.7, 0.65     0.9, 0.72

    So for large batches the backward kernel gains little on one thread.
    """
    return one_type(arrays) and weight.nbytes <= 1 << 20


def plain_takes(arrays: tuple[Array, ...], h0: Array) -> bool:
    """Whether the kernels of the plain layer are the faster way: small states, where calls cost more than sums.

    Measured as above: N 8, H 32 3.0 and 3.2 times as fast; N 16, H 128 1.4 and 1.03; N 32, H 64 1.06 and 1.00; but
    N 64, H 128 0.7 and 0.8; N 512, H 32 0.5 and 0.6. NumPy's tanh is a vector loop too, and there is little to fuse.
    """
    return one_type(arrays) and h0.size <= 2048
