"""C = A·B for matrices that are cut to fit: rows in fours, columns in whole vectors, so that nothing is masked.

`gemm_taps` (`microkernel.py`) takes any number of rows and columns, reads a row to begin from and walks over taps; that
costs most where sums are short: 16 steps for 24×16 results run at 72 GFLOP/s there and at 81 here, 256 steps at 92 and
at 98 (one core of a Zen 3). Whoever owns the memory of all three matrices, as Winograd's convolution does, can round it
up and take this.

Columns go in strips of two vectors; an odd number of them ends with a strip of three, because a strip of one has too
few sums at work (24 columns, 16 steps: 59 GFLOP/s as 16 + 8, 80 as one strip of 24).
"""

from __future__ import annotations

import functools
from typing import Any

from minidl.device.inline import Intrinsic, inline, intrinsic, separate
from minidl.device.vectors import (
    counted_loop,
    data_pointer,
    host_number,
    integer,
    lanes,
    lanes_of,
    load,
    multiply_add,
    offset_by,
    registers,
    splat,
    store,
    vector_type,
    zeros,
)

UNROLL = 4  # steps in one round
FEW_ROWS = 4  # rows of the smaller tile of each width
STEPS = 256  # of a product at once: more of a strip would not stay in the first-level cache


def main_rows(vectors: int, turned: bool) -> int:
    """Rows of the larger tile: as many as there are registers for.

    With AVX-512 the sums of 12 rows of 2 vectors fit into 24 of 32 registers, but LLVM also reads numbers of A well
    ahead of their use, and half of all multiply-adds then go by the stack: 138 GFLOP/s on one core of a Zen 5, where 8
    rows reach 265. Turned, 12 rows of A lie side by side, and are read one by one.
    """
    if registers() == 16:
        return {1: 12, 2: 6, 3: 4}[vectors]
    return {1: 12, 2: 12, 3: 8}[vectors] if turned else 8


def _tile(vectors: int, *, large: bool, turned: bool) -> Intrinsic:
    """The intrinsic tile(c, ic, ldc, a, ia, lda, b, ib, ldb, steps, adds): rows × vectors of C = A·B, or C += A·B.

    (i, k) of A is a[ia + i lda + k], or a[ia + k lda + i] if it is `turned`.
    """

    def emit(
        typing_context: Any, c: Any, ic: Any, ldc: Any, a: Any, ia: Any, lda: Any, b: Any, ib: Any, ldb: Any,
        steps: Any, adds: Any,
    ) -> Any:  # fmt: skip
        from numba.core import types

        rows, vector = main_rows(vectors, turned) if large else FEW_ROWS, vector_type(c)

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            c_, ic_, ldc_, a_, ia_, lda_, b_, ib_, ldb_, steps_, adds_ = args

            at = functools.partial(offset_by, builder)
            end = at(data_pointer(context, builder, c, c_), ic_)
            left = at(data_pointer(context, builder, a, a_), ia_)
            right = at(data_pointer(context, builder, b, b_), ib_)
            results = [at(end, builder.mul(integer(i), ldc_), v * vector.count)
                       for i in range(rows) for v in range(vectors)]  # fmt: skip
            origins = [left if turned else at(left, builder.mul(integer(i), lda_)) for i in range(rows)]

            def round_of(count: int) -> Any:
                def body(k: Any, sums: list[Any]) -> list[Any]:
                    for step in range(count):
                        number = builder.add(k, integer(step))
                        row = at(right, builder.mul(number, ldb_))
                        ones = [load(builder, vector, at(row, v * vector.count)) for v in range(vectors)]
                        new = []
                        for i, origin in enumerate(origins):
                            place = at(origin, builder.mul(number, lda_), i) if turned else at(origin, k, step)
                            one = splat(builder, vector, builder.load(place))
                            new += [multiply_add(builder, one, ones[v], sums[i * vectors + v]) for v in range(vectors)]
                        sums = new
                    return sums

                return body

            before = builder.block
            with builder.if_then(adds_):
                given, loaded = [load(builder, vector, place) for place in results], builder.block
            sums = []
            for value in given:
                phi = builder.phi(vector)
                phi.add_incoming(zeros(vector), before)
                phi.add_incoming(value, loaded)
                sums.append(phi)
            whole = builder.and_(steps_, integer(-UNROLL))
            sums = counted_loop(builder, integer(0), whole, UNROLL, sums, round_of(UNROLL), hide=True)[1]
            sums = counted_loop(builder, whole, steps_, 1, sums, round_of(1), hide=True)[1]
            for value, place in zip(sums, results, strict=True):
                store(builder, value, place)
            return context.get_dummy_value()

        step = types.intp
        return types.void(c, step, step, a, step, step, b, step, step, step, types.boolean), code

    def python(
        c: Any, ic: int, ldc: int, a: Any, ia: int, lda: int, b: Any, ib: int, ldb: int, steps: int, adds: bool
    ) -> None:
        row_step, k_step = (1, lda) if turned else (lda, 1)
        for i in range(main_rows(vectors, turned) if large else FEW_ROWS):
            for j in range(vectors * lanes_of(c.dtype)):
                total = c[ic + i * ldc + j] if adds else c.dtype.type(0)
                for k in range(steps):
                    total += a[ia + i * row_step + k * k_step] * b[ib + k * ldb + j]
                c[ic + i * ldc + j] = total

    return intrinsic(emit)(python)


rows_1, rows_2, rows_3 = (host_number(main_rows, v, False) for v in (1, 2, 3))
turned_rows_1, turned_rows_2, turned_rows_3 = (host_number(main_rows, v, True) for v in (1, 2, 3))
_large_1, _large_2, _large_3 = (_tile(v, large=True, turned=False) for v in (1, 2, 3))
_small_1, _small_2, _small_3 = (_tile(v, large=False, turned=False) for v in (1, 2, 3))
_large_turned_1, _large_turned_2, _large_turned_3 = (_tile(v, large=True, turned=True) for v in (1, 2, 3))
_small_turned_1, _small_turned_2, _small_turned_3 = (_tile(v, large=False, turned=True) for v in (1, 2, 3))


@inline
def strip_width(vectors: int) -> int:
    """How many of `vectors` vectors of columns, those that are left, the next strip has."""
    return 3 if vectors == 3 else min(2, vectors)


@separate
def product(
    c: Any, ic: int, ldc: int, a: Any, ia: int, lda: int, b: Any, ib: int, rows: int, vectors: int, steps: int
) -> None:
    """C = A·B, with `rows` (a multiple of 4) rows of C and A, and B in strips: [strip][k][column].

    Number (i, j) of C is c[ic + i ldc + j], (i, k) of A is a[ia + i lda + k]. Sums run in the order of k.
    """
    v = 0
    while v < vectors:
        width = strip_width(vectors - v)
        to, ldb = ic + v * lanes(c), width * lanes(c)
        for k in range(0, steps, STEPS):
            strip, count = ib + v * lanes(c) * steps + k * ldb, min(STEPS, steps - k)
            i = 0
            while i < rows:
                at, from_ = to + i * ldc, ia + i * lda + k
                if width == 2:
                    if (rows - i) % rows_2() == 0:
                        _large_2(c, at, ldc, a, from_, lda, b, strip, ldb, count, k > 0)
                        i += rows_2()
                    else:
                        _small_2(c, at, ldc, a, from_, lda, b, strip, ldb, count, k > 0)
                        i += 4
                elif width == 3:
                    if (rows - i) % rows_3() == 0:
                        _large_3(c, at, ldc, a, from_, lda, b, strip, ldb, count, k > 0)
                        i += rows_3()
                    else:
                        _small_3(c, at, ldc, a, from_, lda, b, strip, ldb, count, k > 0)
                        i += 4
                elif (rows - i) % rows_1() == 0:
                    _large_1(c, at, ldc, a, from_, lda, b, strip, ldb, count, k > 0)
                    i += rows_1()
                else:
                    _small_1(c, at, ldc, a, from_, lda, b, strip, ldb, count, k > 0)
                    i += 4
        v += width


@separate
def product_turned(
    c: Any, ic: int, ldc: int, a: Any, ia: int, lda: int, b: Any, ib: int, ldb: int, rows: int, vectors: int,
    steps: int, adds: bool,
) -> None:  # fmt: skip
    """C = Aᵀ·B, or C += Aᵀ·B if it `adds`: (k, i) of A is a[ia + k lda + i], (k, j) of B is b[ib + k ldb + j]."""
    v = 0
    while v < vectors:
        width = strip_width(vectors - v)
        to, strip = ic + v * lanes(c), ib + v * lanes(c)
        i = 0
        while i < rows:
            at, from_ = to + i * ldc, ia + i
            if width == 2:
                if (rows - i) % turned_rows_2() == 0:
                    _large_turned_2(c, at, ldc, a, from_, lda, b, strip, ldb, steps, adds)
                    i += turned_rows_2()
                else:
                    _small_turned_2(c, at, ldc, a, from_, lda, b, strip, ldb, steps, adds)
                    i += 4
            elif width == 3:
                if (rows - i) % turned_rows_3() == 0:
                    _large_turned_3(c, at, ldc, a, from_, lda, b, strip, ldb, steps, adds)
                    i += turned_rows_3()
                else:
                    _small_turned_3(c, at, ldc, a, from_, lda, b, strip, ldb, steps, adds)
                    i += 4
            elif (rows - i) % turned_rows_1() == 0:
                _large_turned_1(c, at, ldc, a, from_, lda, b, strip, ldb, steps, adds)
                i += turned_rows_1()
            else:
                _small_turned_1(c, at, ldc, a, from_, lda, b, strip, ldb, steps, adds)
                i += 4
        v += width
