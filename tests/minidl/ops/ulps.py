"""The ledger of errors: for each op and floating type the largest error in units in the last place.

`python -m tests.minidl.ops.ulps` measures anew and writes `ulps.json` and `docs/reference/ulps.md`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import minidl
from minidl.core import Tensor
from minidl.device import numba_status
from minidl.testing import Case, does_not_apply, draw, largest_errors
from tests.minidl.ops.cases import CASES

LEDGER = Path(__file__).with_name("ulps.json")
Ledger = dict[str, dict[str, float]]

# Correctly rounded on every machine, by IEEE 754 or because nothing is rounded. Their entries have no margin.
ROUNDED_ONCE = ("abs", "add", "amax", "amin", "clone", "div", "floor", "maximum", "mul", "neg", "relu", "sqrt", "sub")


def inputs(case: Case, dtype: type[np.floating]) -> Iterator[list[Tensor]]:
    """The row's own inputs, two more draws, and 4,096 numbers for functions of single numbers."""
    for seed in range(3):
        yield case.inputs(seed, dtype=dtype)
    if does_not_apply(case, "special values") is None:
        yield draw([(4096,)] * len(case.shapes), 7, low=case.low, high=case.high, dtype=dtype)


def measured() -> Ledger:
    """The largest errors of all rows, by the compiled kernels where there is Numba, and by the references."""
    worst: Ledger = {}
    for compiled in {bool(numba_status()), False}:
        with minidl.use_numba(compiled):
            for case in CASES:
                for dtype in (np.float32, np.float64):
                    for given in inputs(case, dtype):
                        for (op, name), error in largest_errors(case.call, *given).items():
                            entry = worst.setdefault(op, {})
                            entry[name] = max(entry.get(name, 0.0), error)
    return worst


def limit(op: str, entry: float) -> float:
    """What an op may show on this machine: twice its entry and two units.

    Entries come from one machine. Vectors of another length add in another order, and an addition may or may not be
    fused into a product: each changes an error by up to its own size. And NumPy takes exp, log, sin and others from
    what the processor offers: with AVX-512 switched off, entries made with it grew by up to one unit (log10 in float64
    from 0.6 to 1.6).
    """
    return entry if op in ROUNDED_ONCE else 2 * entry + 2


def renew() -> None:
    """Measure, and write the ledger: entries are rounded up to a tenth of a unit."""
    from docs.reference import ulps as reference

    entries = {op: {t: math.ceil(e * 10) / 10 for t, e in sorted(found.items())} for op, found in measured().items()}
    lines = [f"  {json.dumps(op)}: {json.dumps(entries[op])}" for op in sorted(entries)]
    LEDGER.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    reference.main()


if __name__ == "__main__":
    renew()
