"""Write the page of promotion: which element type comes of which. `python -m docs.reference.promotion`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import minidl

PAGE = Path(__file__).parent / "promotion.md"
NAMES = (
    "bool_", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "float16", "bfloat16", "float32",
    "float64",
)  # fmt: skip
# What stands beside a tensor: Python numbers, and tensors without dimensions.
NUMBERS = {"True": True, "3": 3, "2.5": 2.5}
SINGLES = ("bool_", "uint8", "int64", "float16", "bfloat16", "float32", "float64")

_HEAD = """# Element types

| type | bits | what it is for |
|---|---|---|
| `float32` | 32 | the default of floating numbers; all arithmetic |
| `float64` | 64 | where asked for: nothing turns into it silently |
| `bfloat16` | 16 | storage: the upper half of a float32, its range, 8 bits of precision |
| `float16` | 16 | storage: 11 bits of precision, from 6e-8 to 65 504 |
| `int64`, `int32`, `int16`, `int8` | 64 to 8 | the default of whole numbers is `int64` |
| `uint8`, `uint16`, `uint32`, `uint64` | 8 to 64 | pixels |
| `bool_` | 8 | |

Ops on 16-bit floats compute in float32 and round each result once, to the nearest, ties to even; gradients likewise, in
the type of their leaf. A function made of several ops is float32 inside. NumPy has no bfloat16; `minidl.bfloat16` is
that of the package ml_dtypes (1.8 MB installed, beside 73 MB of NumPy), which is loaded when it is first asked for.

## Two tensors

`minidl.promote_types(row, column)`: floating types win over whole numbers and those over bools; among types of one kind
the wider one wins, and of the two floating types of 16 bits, of which neither holds the other, float32.

"""
_BESIDE = """
## A tensor and a single number

`minidl.result_type(row, column)`: a Python number, or a tensor without dimensions (`[]`), keeps to the type of the
tensor beside it, unless it is of a kind that this cannot hold.

"""
_CASTS = """
## Into a tensor that is there

In-place ops round into the type of their tensor. `minidl.can_cast(row, column)` says whether they may: not to a smaller
kind of number. Signs and sizes are not looked at.

"""
_END = """
## Where this differs from PyTorch

PyTorch refuses to promote `uint16`, `uint32` and `uint64` with whole numbers of other types; here NumPy's rule holds:
the smallest type that has room for both, float64 for `uint64` with a signed one. A Python float beside a tensor of 16
bits that has no dimensions is rounded to its type first. All else is tested to be equal, `torch.promote_types`,
`torch.result_type` and `torch.can_cast` for every pair. Made by `python -m docs.reference.promotion`.
"""


def page() -> str:
    """The page as Markdown."""
    types = [getattr(minidl, name) for name in NAMES]
    promoted = _table(NAMES, lambda r, c: minidl.promote_types(types[r], types[c]).name)
    tensors = [minidl.zeros(2, dtype=t) for t in types]
    singles = [*NUMBERS.values(), *(minidl.zeros(dtype=getattr(minidl, name)) for name in SINGLES)]
    shown = [*NUMBERS, *(f"{name}[]" for name in SINGLES)]
    beside = _table(shown, lambda r, c: minidl.result_type(tensors[r], singles[c]).name)
    kinds = {"bool": "bool_", "whole": "int64", "floating": "float32"}
    ends = [getattr(minidl, name) for name in kinds.values()]
    casts = _table(kinds, lambda r, c: "yes" if minidl.can_cast(ends[r], ends[c]) else "", kinds)
    return _HEAD + promoted + _BESIDE + beside + _CASTS + casts + _END


def _table(columns: Iterable[str], entry: Callable[[int, int], str], rows: Iterable[str] = NAMES) -> str:
    columns = list(columns)
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for r, row in enumerate(rows):
        lines.append(f"| **{row}** | {' | '.join(entry(r, c) for c in range(len(columns)))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
