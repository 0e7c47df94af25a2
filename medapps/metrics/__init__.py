"""Figures of merit, each with its 95 % interval, the number of cases behind it and how the interval was made."""

from medapps.metrics.bootstrap import DEFAULT, Resampling
from medapps.metrics.calibration import brier, expected_calibration_error, reliability
from medapps.metrics.case_means import CaseGroups, case_means
from medapps.metrics.counts import (
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    mean_specificity,
    precision,
    sensitivity,
    specificity,
    wilson_interval,
)
from medapps.metrics.dice import dice_scores
from medapps.metrics.estimate import Estimate, not_defined
from medapps.metrics.overlap import Overlap, overlaps
from medapps.metrics.predictions import Predictions, check_predictions, number_groups
from medapps.metrics.ranking import area, auc, class_areas, delong_variance, macro_area, roc_curve
from medapps.metrics.region import FIGURES, OUTCOMES, Region, measure_regions
from medapps.metrics.seeds import SeedRow, over_seeds
from medapps.metrics.surface import SurfaceDistances, surface_distances

__all__ = [
    "DEFAULT",
    "FIGURES",
    "OUTCOMES",
    "CaseGroups",
    "Estimate",
    "Overlap",
    "Predictions",
    "Region",
    "Resampling",
    "SeedRow",
    "SurfaceDistances",
    "accuracy",
    "area",
    "auc",
    "balanced_accuracy",
    "brier",
    "case_means",
    "check_predictions",
    "class_areas",
    "confusion_matrix",
    "delong_variance",
    "dice_scores",
    "expected_calibration_error",
    "macro_area",
    "mean_specificity",
    "measure_regions",
    "not_defined",
    "number_groups",
    "over_seeds",
    "overlaps",
    "precision",
    "reliability",
    "roc_curve",
    "sensitivity",
    "specificity",
    "surface_distances",
    "wilson_interval",
]
