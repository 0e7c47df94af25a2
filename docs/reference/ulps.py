"""Write the page of errors from the ledger in the tests. `python -m docs.reference.ulps`."""

from __future__ import annotations

import json
from pathlib import Path

PAGE = Path(__file__).parent / "ulps.md"
LEDGER = Path(__file__).parents[2] / "tests" / "minidl" / "ops" / "ulps.json"
_HEAD = """# How exact the ops are

For each op, forward and backward ones alike, and each floating type: the largest error in units in the last place (ULP,
the distance between neighbouring numbers of the type), rounded up to a tenth. 0.5 is the best there is: the exact
result, rounded. What is exact is told by the reference of the op on the very same inputs in a wider type, float64 for
float32 and NumPy's longdouble for float64; "–" where the reference cannot compute in it.

Errors of functions of single numbers are in units of each value (near roots, of 1/64 of the largest). Elsewhere terms
may cancel: along a dimension, errors are in units of the largest number of result and inputs; for all other ops, in
units of the largest of the result, or of 1/64 of the largest input.

The inputs are those of the table of op tests, three draws of each row, and 4,096 numbers for functions of single
numbers; compiled kernels and references, the larger error counts. Whole numbers, which leave nothing to round, are
compared bit by bit elsewhere.

`tests/minidl/ops/ulps.json` is the ledger; a test fails when an op exceeds twice its entry and two units: on other
machines vectors have another length, sums another order, and NumPy takes exp, log and sin from what the processor
offers. `python -m tests.minidl.ops.ulps` renews ledger and page.

| op | float32 | float64 |
| --- | --- | --- |
"""


def page() -> str:
    """The page as Markdown."""
    ledger = json.loads(LEDGER.read_text(encoding="utf-8"))
    rows = [f"| {op} | {e.get('float32', '–')} | {e.get('float64', '–')} |" for op, e in ledger.items()]
    return _HEAD + "\n".join(rows) + "\n"


def main() -> None:
    """Write the page beside this file."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
