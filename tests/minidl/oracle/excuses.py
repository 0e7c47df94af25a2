"""What is left out of the comparison with PyTorch, and why: a row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple


class Sample(NamedTuple):
    """One call from PyTorch's list."""

    name: str
    dtype: Any
    input: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    process: Callable[[Any], Any] | None

    def __str__(self) -> str:
        parts = [_shown(v) for v in (self.input, *self.args)] + [f"{k}={_shown(v)}" for k, v in self.kwargs.items()]
        return f"{self.name}({', '.join(parts)})"


def _shown(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_shown, value))}]"
    return repr(value)


@dataclass(frozen=True)
class Excuse:
    """Samples of `op` (None for any op) for which `when` holds are not compared."""

    op: str | None
    reason: str
    when: Callable[[Sample], bool] = lambda sample: True


# Results are random draws, or memory that is not set: shape and element type are compared, values cannot be.
ONLY_SHAPES = frozenset("""
    empty randn randint nn.functional.dropout nn.functional.dropout2d
""".split())  # noqa: SIM905 - a table to read

SAMPLES: tuple[Excuse, ...] = ()

WRONG_CALLS: tuple[Excuse, ...] = ()

# Ops that need wider bounds than PyTorch's own, by this factor, and why.
SLACK: dict[str, tuple[float, str]] = {}


def excuse_for(sample: Sample) -> str | None:
    """The reason not to compare this sample, if there is one."""
    return _first(SAMPLES, sample)


def excused_error(sample: Sample) -> str | None:
    """The reason not to ask for an error, if there is one."""
    return _first(WRONG_CALLS, sample)


def _first(rows: tuple[Excuse, ...], sample: Sample) -> str | None:
    for row in rows:
        if row.op in (None, sample.name) and row.when(sample):
            return row.reason
    return None


def only_shapes(name: str) -> bool:
    return name in ONLY_SHAPES


def bounds_of(sample: Sample) -> float:
    return SLACK.get(sample.name, (1.0, ""))[0]
