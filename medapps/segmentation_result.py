"""What a segmentation is worth, as data: cases, their means with intervals, and the JSON that keeps them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medapps import NOTICE
from medapps.errors import InputError
from medapps.evaluate import Cost
from medapps.metrics import FIGURES, OUTCOMES, Estimate, Overlap, Region

__all__ = ["EMPTY_RULE", "SegmentationEvaluation", "SegmentedCase"]

EMPTY_RULE = (
    "A class that is neither in the truth nor in the prediction of a case says nothing there: the case is left out of "
    "that class's means. A class that was missed, or predicted where there is none, has Dice, IoU and surface Dice 0. "
    "It has no surface distance: HD95 and ASSD are means over the cases where the class was found, and say nothing of "
    "the others. Sensitivity and volume difference need a true mask, precision a predicted one."
)
_TASK = "segment"
_UNITS = ("mm", "px")
_COUNTS = ("both", "missed", "extra")
_SURFACE = ("hd95", "assd", "surface_dice")


@dataclass(frozen=True)
class SegmentedCase:
    """One case: what it is called, whose it is, and a region for each class but the background."""

    name: str
    group: str
    regions: tuple[Region, ...]

    @property
    def dice(self) -> float:
        """The mean Dice of the classes that are there or were predicted; NaN if there are none."""
        known = [d for region in self.regions if math.isfinite(d := region.overlap.dice)]
        return sum(known) / len(known) if known else math.nan


@dataclass(frozen=True, eq=False)
class SegmentationEvaluation:
    """What `evaluate_segmentation` found.

    metrics: dice, iou, surface_dice, hd95, assd, sensitivity, precision, volume_difference: the mean over the classes
        of their means over cases.
    per_class: the same for each class but the background.
    cases: every case, in the order given.
    n, groups: cases judged, and of how many groups (patients) they are.
    classes: names, the first is the background.
    unit, tolerance: of hd95 and assd, "mm" or, where a spacing is not known, "px"; the surface Dice's, in that unit.
    split: which part of the data was judged.
    """

    metrics: dict[str, Estimate]
    per_class: dict[str, dict[str, Estimate]]
    cases: tuple[SegmentedCase, ...]
    n: int
    groups: int
    classes: tuple[str, ...]
    unit: str
    tolerance: float
    split: str
    cost: Cost | None = None

    def outcomes(self) -> dict[str, dict[str, int]]:
        """For each class in how many cases it was found, missed, a false alarm or absent."""
        counted = {
            name: Counter(case.regions[i].outcome for case in self.cases) for i, name in enumerate(self.classes[1:])
        }
        return {name: {outcome: counts[outcome] for outcome in OUTCOMES} for name, counts in counted.items()}

    def to_json(self) -> str:
        """Text for evaluation.json; the same evaluation gives the same bytes, and nothing in it is NaN."""
        plain = {
            "task": _TASK,
            "notice": NOTICE,
            "split": self.split,
            "n": self.n,
            "groups": self.groups,
            "classes": list(self.classes),
            "unit": self.unit,
            "tolerance": self.tolerance,
            "empty_masks": {"rule": EMPTY_RULE, "outcomes": self.outcomes()},
            "metrics": _plain(self.metrics),
            "per_class": {name: _plain(figures) for name, figures in self.per_class.items()},
            "cases": [_plain_case(case, self.classes[1:]) for case in self.cases],
            "cost": self.cost.to_dict() if self.cost else None,
        }
        return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> SegmentationEvaluation:
        """The evaluation that `to_json` wrote.

        Raises:
            InputError: one sentence that names what is wrong.
        """
        try:
            plain = json.loads(text)
        except (ValueError, RecursionError):
            raise InputError("evaluation: is not JSON") from None
        try:
            return _read(plain)
        except InputError as error:
            raise InputError(f"evaluation: {error}") from None
        except KeyError as error:
            raise InputError(f"evaluation: {error.args[0]!r} is missing") from None
        except (AttributeError, TypeError, ValueError, OverflowError):
            raise InputError("evaluation: is not what medapps writes") from None


def _plain(figures: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: figure.to_dict() for name, figure in figures.items()}


def _plain_case(case: SegmentedCase, names: Sequence[str]) -> dict[str, Any]:
    regions = {name: _plain_region(region) for name, region in zip(names, case.regions, strict=True)}
    return {"name": case.name, "group": case.group, "regions": regions}


def _plain_region(region: Region) -> dict[str, float | None]:
    counts = {name: getattr(region.overlap, name) for name in _COUNTS}
    distances = {name: getattr(region, name) for name in _SURFACE}
    return {**counts, **{name: v if math.isfinite(v) else None for name, v in distances.items()}}


def _read(plain: Mapping[str, Any]) -> SegmentationEvaluation:
    if plain["task"] != _TASK:
        raise InputError(f"is of the task {str(plain['task'])[:40]!r}, not {_TASK!r}")
    classes = tuple(str(name) for name in plain["classes"])
    found = SegmentationEvaluation(
        metrics=_estimates(plain["metrics"]),
        per_class={str(name): _estimates(figures) for name, figures in plain["per_class"].items()},
        cases=tuple(_case(case, classes[1:]) for case in plain["cases"]),
        n=int(plain["n"]),
        groups=int(plain["groups"]),
        classes=classes,
        unit=str(plain["unit"]),
        tolerance=float(plain["tolerance"]),
        split=str(plain["split"]),
        cost=Cost.from_dict(plain["cost"]) if plain["cost"] is not None else None,
    )
    for fault in _faults(found, plain["empty_masks"]["outcomes"]):
        raise InputError(fault)
    return found


def _faults(found: SegmentationEvaluation, outcomes: Any) -> Iterator[str]:
    if found.unit not in _UNITS or not (math.isfinite(found.tolerance) and found.tolerance >= 0):
        yield f"unit must be {' or '.join(_UNITS)} and tolerance a number from 0 up"
    if tuple(found.per_class) != found.classes[1:] or len(found.cases) != found.n or not 1 <= found.groups <= found.n:
        yield "classes, per_class, cases, n and groups do not fit together"
    if outcomes != found.outcomes():
        yield "empty_masks and cases do not fit together"


def _estimates(plain: Mapping[str, Any]) -> dict[str, Estimate]:
    if set(plain) != set(FIGURES):
        raise InputError(f"figures must be {', '.join(FIGURES)}")
    return {name: Estimate.from_dict(plain[name]) for name in FIGURES}


def _case(plain: Mapping[str, Any], names: Sequence[str]) -> SegmentedCase:
    if set(plain["regions"]) != set(names):
        raise InputError(f"case {str(plain['name'])[:40]!r} must hold the regions {', '.join(names)[:80]}")
    return SegmentedCase(
        str(plain["name"]), str(plain["group"]), tuple(_region(plain["regions"][name]) for name in names)
    )


def _region(plain: Mapping[str, Any]) -> Region:
    counts, distances = [plain[name] for name in _COUNTS], [plain[name] for name in _SURFACE]
    if not all(isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in counts):
        raise InputError(f"a region's {', '.join(_COUNTS)} must be whole numbers from 0 up, got {str(counts)[:60]}")
    if not all(v is None or (isinstance(v, int | float) and math.isfinite(v) and v >= 0) for v in distances):
        raise InputError(f"a region's {', '.join(_SURFACE)} must be numbers from 0 up or null")
    hd95, assd, share = (math.nan if v is None else float(v) for v in distances)
    both, missed, extra = counts
    return Region(Overlap(both, missed, extra), hd95, assd, share)
