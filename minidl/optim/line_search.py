"""The line search of LBFGS: a step that lowers the loss enough and leaves it flat enough (the strong Wolfe conditions).

Source: Nocedal and Wright, Numerical Optimization, 2006, algorithms 3.5 and 3.6, eq. 3.59 for the cubic. Bounds on how
far a trial may go are those of PyTorch, so that both walk the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from minidl.core import Tensor

_LOWER = 1e-4  # c1: the share of the promised decrease that there must be
_FLAT = 0.9  # c2: the share of the first slope that may be left
_SMALLEST = 1e-9  # no number of the weights moves by more than this in a bracket: nothing is left to search


class Point(NamedTuple):
    """A place on the line: how far along it, the loss and its gradient there, and the slope along the line."""

    t: float
    loss: float
    grad: Tensor
    slope: float


def strong_wolfe(at: Callable[[float], Point], start: Point, t: float, size: float, trials: int = 25) -> Point:
    """A point that meets both conditions, or the best one after so many trials.

    Args:
        at: computes the point at a place.
        start: the point at 0.
        t: the first place to try.
        size: the largest number of the direction.
    """
    before, new = start, at(t)
    for trial in range(trials):
        if not _is_lower(new, start) or (trial > 1 and new.loss >= before.loss):
            return _zoom(at, start, before, new, size, trials - trial)
        if _is_flat(new, start):
            return new
        if new.slope >= 0:
            return _zoom(at, start, before, new, size, trials - trial)
        bounds = (new.t + 0.01 * (new.t - before.t), 10 * new.t)
        before, new = new, at(lowest_of_cubic(before, new, bounds))
    return min(start, new, key=lambda point: point.loss)


def _zoom(at: Callable[[float], Point], start: Point, one: Point, other: Point, size: float, trials: int) -> Point:
    """Close in on a good point between two: the low one, and one that is higher or slopes the other way."""
    bracket, low = [one, other], 0 if one.loss <= other.loss else 1
    was_near_the_edge = False
    while trials and abs(bracket[1].t - bracket[0].t) * size >= _SMALLEST:
        begin, end = sorted(point.t for point in bracket)
        t, margin = lowest_of_cubic(bracket[0], bracket[1], (begin, end)), 0.1 * (end - begin)
        is_near_the_edge = min(end - t, t - begin) < margin
        if is_near_the_edge and (was_near_the_edge or t >= end or t <= begin):
            t = end - margin if abs(t - end) < abs(t - begin) else begin + margin
            is_near_the_edge = False
        was_near_the_edge = is_near_the_edge
        new, trials = at(t), trials - 1
        if not _is_lower(new, start) or new.loss >= bracket[low].loss:
            bracket[1 - low] = new
            low = 0 if bracket[0].loss <= bracket[1].loss else 1
            continue
        if _is_flat(new, start):
            return new
        if new.slope * (bracket[1 - low].t - bracket[low].t) >= 0:
            bracket[1 - low] = bracket[low]
        bracket[low] = new
    return bracket[low]


def _is_lower(point: Point, start: Point) -> bool:
    return not point.loss > start.loss + _LOWER * point.t * start.slope


def _is_flat(point: Point, start: Point) -> bool:
    return abs(point.slope) <= -_FLAT * start.slope


def lowest_of_cubic(a: Point, b: Point, bounds: tuple[float, float]) -> float:
    """Where the cubic through two points and their slopes is lowest, within bounds; their middle if it is nowhere.

    >>> a, b = (Point(t, t * t * (t - 3), Tensor(0.0), 3 * t * t - 6 * t) for t in (1.0, 4.0))
    >>> lowest_of_cubic(a, b, (0.0, 10.0))
    2.0
    """
    a, b = sorted((a, b), key=lambda point: point.t)
    mixed = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    squared = mixed * mixed - a.slope * b.slope
    if not squared >= 0:
        return sum(bounds) / 2
    half = math.sqrt(squared)
    bend = b.slope - a.slope + 2 * half
    if bend == 0:  # a straight line
        return bounds[1] if b.slope < 0 else bounds[0]
    lowest = b.t - (b.t - a.t) * (b.slope + half - mixed) / bend
    return min(max(lowest, bounds[0]), bounds[1])
