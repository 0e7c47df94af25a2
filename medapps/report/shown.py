"""An estimate in words, and as a bar from 0 to 100 %."""

from __future__ import annotations

from dataclasses import dataclass

from medapps.metrics import Estimate

__all__ = ["Shown", "show"]


@dataclass(frozen=True)
class Shown:
    """An estimate as text: "0.944", "0.921 to 0.962", and where its interval lies from 0 to 100 %."""

    value: str
    interval: str
    n: str
    method: str
    left: float
    width: float
    at: float
    has_bar: bool


def show(estimate: Estimate) -> Shown:
    """An estimate as the template wants it."""
    known, bar = estimate.is_defined, estimate.has_interval
    low, high = (min(max(v, 0.0), 1.0) for v in (estimate.low, estimate.high)) if bar else (0.0, 0.0)
    return Shown(
        value=f"{estimate.value:.3f}" if known else "not defined",
        interval=f"{estimate.low:.3f} to {estimate.high:.3f}" if bar else ("" if known else estimate.method),
        n=f"{estimate.n:,}",
        method=estimate.method,
        left=100 * low,
        width=100 * (high - low),
        at=100 * min(max(estimate.value, 0.0), 1.0) if known else 0.0,
        has_bar=bar and estimate.value <= 1,
    )
