"""Figures of merit, each with its 95 % interval, the number of cases behind it and how the interval was made."""

from medapps.metrics.bootstrap import DEFAULT, Resampling
from medapps.metrics.calibration import brier, classwise_calibration_error, expected_calibration_error, reliability
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
from medapps.metrics.operating import (
    coverage_and_accuracy,
    coverage_curve,
    referral_threshold,
    sensitivity_threshold,
    youden_threshold,
)
from medapps.metrics.overlap import Overlap, overlaps
from medapps.metrics.plugged import OWN_FIGURES, figure_estimate, named_figures
from medapps.metrics.predictions import Predictions, check_predictions, number_groups
from medapps.metrics.ranking import area, auc, class_areas, delong_variance, macro_area, roc_curve
from medapps.metrics.region import FIGURES, OUTCOMES, Region, measure_regions
from medapps.metrics.seeds import SeedRow, over_seeds
from medapps.metrics.surface import SurfaceDistances, surface_distances
from medapps.metrics.temperature import fit_temperature, with_temperature

__all__ = [
    "DEFAULT",
    "FIGURES",
    "OUTCOMES",
    "OWN_FIGURES",
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
    "classwise_calibration_error",
    "confusion_matrix",
    "coverage_and_accuracy",
    "coverage_curve",
    "delong_variance",
    "dice_scores",
    "expected_calibration_error",
    "figure_estimate",
    "fit_temperature",
    "macro_area",
    "mean_specificity",
    "measure_regions",
    "named_figures",
    "not_defined",
    "number_groups",
    "over_seeds",
    "overlaps",
    "precision",
    "referral_threshold",
    "reliability",
    "roc_curve",
    "sensitivity",
    "sensitivity_threshold",
    "specificity",
    "surface_distances",
    "wilson_interval",
    "with_temperature",
    "youden_threshold",
]
