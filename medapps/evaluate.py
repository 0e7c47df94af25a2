"""evaluate: what a classifier's probabilities are worth, each figure with its interval, and what they cost.

The test split is judged once, with the probabilities as they are; nothing is chosen here.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medapps import NOTICE
from medapps.errors import InputError
from medapps.metrics import (
    DEFAULT,
    Estimate,
    Predictions,
    Resampling,
    SeedRow,
    accuracy,
    balanced_accuracy,
    brier,
    check_predictions,
    class_areas,
    confusion_matrix,
    expected_calibration_error,
    figure_estimate,
    mean_specificity,
    named_figures,
    over_seeds,
    precision,
    sensitivity,
    specificity,
)

__all__ = ["Cost", "Evaluation", "evaluate_classifier", "peak_memory_mb", "seed_table"]

_TASK = "classify"
_WHOLE = ("parameters", "model_bytes", "threads")


@dataclass(frozen=True)
class Cost:
    """What a result cost.

    seconds: wall-clock time of the training; images_per_second: speed of prediction.
    peak_memory_mb: the most memory the process held, in MB (10^6 bytes); NaN where the system does not tell.
    parameters: trainable numbers of the model; model_bytes: size of its file; threads: how many were allowed.
    """

    seconds: float
    images_per_second: float
    peak_memory_mb: float
    parameters: int
    model_bytes: int
    threads: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is not known is None."""
        return {name: v if math.isfinite(v) else None for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Any) -> Cost:
        """The cost that `to_dict` wrote.

        Raises:
            InputError: if `values` is not one.
        """
        names = [f.name for f in fields(cls)]
        if not isinstance(values, Mapping) or set(values) != set(names):
            raise InputError(f"cost: must hold {', '.join(names)}")
        for name in names:
            kinds = (int,) if name in _WHOLE else (int, float, type(None))
            if not isinstance(values[name], kinds) or isinstance(values[name], bool):
                raise InputError(f"cost: {name} must be a number, got {str(values[name])[:40]!r}")
        known: dict[str, Any] = {name: math.nan if values[name] is None else values[name] for name in names}
        return cls(**known)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate_classifier` found.

    metrics: auc, accuracy, balanced_accuracy, sensitivity, specificity, brier, calibration_error, and those of
        plug-ins. With 2 classes the second is positive; with more, sensitivity and specificity are means over the
        classes, each against the rest.
    per_class: for each class name auc, sensitivity, specificity, precision, that class against the rest.
    confusion: (K, K), how many cases of class i (row) were called class j (column).
    n, groups: cases judged, and of how many groups (patients) they are.
    split: which part of the data was judged.
    """

    metrics: dict[str, Estimate]
    per_class: dict[str, dict[str, Estimate]]
    confusion: NDArray[np.int64]
    n: int
    groups: int
    classes: tuple[str, ...]
    split: str
    cost: Cost | None = None

    def to_json(self) -> str:
        """Text for evaluation.json; the same evaluation gives the same bytes, and nothing in it is NaN."""
        plain = {
            "task": _TASK,
            "notice": NOTICE,
            "split": self.split,
            "n": self.n,
            "groups": self.groups,
            "classes": list(self.classes),
            "metrics": _plain(self.metrics),
            "per_class": {name: _plain(figures) for name, figures in self.per_class.items()},
            "confusion": self.confusion.tolist(),
            "cost": self.cost.to_dict() if self.cost else None,
        }
        return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Evaluation:
        """The evaluation that `to_json` wrote.

        Raises:
            InputError: one sentence that names what is wrong.
        """
        try:
            plain = json.loads(text)
        except (ValueError, RecursionError):
            raise InputError("evaluation: is not JSON") from None
        try:
            if (task := plain.get("task", _TASK)) != _TASK:  # older files do not tell
                raise InputError(f"is of the task {str(task)[:40]!r}, not {_TASK!r}")
            classes = tuple(str(name) for name in plain["classes"])
            per_class = {str(name): _estimates(figures) for name, figures in plain["per_class"].items()}
            found = cls(
                metrics=_estimates(plain["metrics"]),
                per_class=per_class,
                confusion=_confusion(plain["confusion"], len(classes)),
                n=int(plain["n"]),
                groups=int(plain["groups"]),
                classes=classes,
                split=str(plain["split"]),
                cost=Cost.from_dict(plain["cost"]) if plain["cost"] is not None else None,
            )
        except InputError as error:
            raise InputError(f"evaluation: {error}") from None
        except KeyError as error:
            raise InputError(f"evaluation: {error.args[0]!r} is missing") from None
        except (AttributeError, TypeError, ValueError, OverflowError):
            raise InputError("evaluation: is not what medapps writes") from None
        if set(per_class) != set(classes) or found.confusion.sum() != found.n:
            raise InputError("evaluation: classes, per_class, confusion and n do not fit together")
        return found


def evaluate_classifier(
    probabilities: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str],
    *,
    split: str,
    groups: Sequence[Any] | None = None,
    cost: Cost | None = None,
    metrics: Sequence[str] = (),
    resampling: Resampling = DEFAULT,
) -> Evaluation:
    """Measure how good the probabilities are; the most probable class is the call.

    Args:
        probabilities: (N, K), each row summing to 1.
        labels: (N,), the true class, 0 to K - 1.
        classes: K names, no two alike. With two classes the second one is positive.
        split: which part of the data this is, for the record.
        groups: (N,), whose case each is (patient); intervals are then over groups. None: each case stands for itself.
        cost: what it cost, for the record.
        metrics: names of further figures, which plug-ins bring.
        resampling: draws and seed of the bootstrap.

    Raises:
        InputError: one sentence that names the argument at fault.
    """
    p = check_predictions(probabilities, labels, groups)
    names = tuple(str(name) for name in classes)
    if len(names) != p.k or len(set(names)) != p.k:
        raise InputError(f"classes: must be {p.k} different names for {p.k} columns of probabilities, got {len(names)}")
    macro, areas = class_areas(p, resampling)
    each = {name: _of_class(p, k, areas[k], resampling) for k, name in enumerate(names)}
    positive = each[names[1]]
    two = p.k == 2
    further = named_figures(metrics)
    figures = {
        "auc": macro,
        "accuracy": accuracy(p, resampling=resampling),
        "balanced_accuracy": (balanced := balanced_accuracy(p, resampling=resampling)),
        "sensitivity": positive["sensitivity"] if two else balanced,
        "specificity": positive["specificity"] if two else mean_specificity(p, resampling),
        "brier": brier(p, resampling=resampling),
        "calibration_error": expected_calibration_error(p, resampling=resampling),
        **{name: figure_estimate(name, figure, p, resampling) for name, figure in further.items()},
    }
    return Evaluation(figures, each, confusion_matrix(p), p.n, p.group_count, names, split, cost)


def seed_table(evaluations: Sequence[Evaluation]) -> tuple[SeedRow, ...]:
    """Mean and standard deviation of each figure over trainings that differ in their seed alone.

    Raises:
        InputError: if the evaluations judge different splits, classes or numbers of cases.
    """
    if len({(e.split, e.classes, e.n) for e in evaluations}) > 1:
        raise InputError("seed_table: all evaluations must judge the same split, classes and cases")
    return over_seeds([e.metrics for e in evaluations])


def peak_memory_mb() -> float:
    """The most memory this process has held so far, in MB (10^6 bytes); NaN where the system does not tell."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # kilobytes, but bytes on macOS


def _of_class(p: Predictions, k: int, area: Estimate, resampling: Resampling) -> dict[str, Estimate]:
    return {
        "auc": area,
        "sensitivity": sensitivity(p, resampling=resampling, positive=k),
        "specificity": specificity(p, resampling=resampling, positive=k),
        "precision": precision(p, resampling=resampling, positive=k),
    }


def _plain(figures: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: figure.to_dict() for name, figure in figures.items()}


def _estimates(plain: Mapping[str, Any]) -> dict[str, Estimate]:
    return {str(name): Estimate.from_dict(figure) for name, figure in plain.items()}


def _confusion(rows: Any, k: int) -> NDArray[np.int64]:
    matrix = np.array(rows)
    if matrix.shape != (k, k) or matrix.dtype.kind not in "iu" or matrix.min() < 0:
        raise InputError(f"confusion: must be a {k} x {k} table of counts")
    return matrix.astype(np.int64)
