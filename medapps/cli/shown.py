"""What the verbs print: figures as tables, predictions, notes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medapps.apps.predict import Prediction
    from medapps.apps.predict_patients import PatientPrediction
    from medapps.evaluate import Evaluation
    from medapps.evaluate_diagnosis import DiagnosisEvaluation
    from medapps.metrics import Estimate
    from medapps.segmentation_result import SegmentationEvaluation

__all__ = ["complain", "judge", "note", "show_prediction", "table"]


def judge(run: Path, data: Path | None, device: str) -> None:
    from medapps.apps.evaluate import evaluate_run
    from medapps.evaluate_diagnosis import DiagnosisEvaluation
    from medapps.report import write_report

    found = evaluate_run(run, data_path=data, device=device)
    print(_diagnosis_headline(found) if isinstance(found, DiagnosisEvaluation) else _headline(found))
    print(f"report: {write_report(run)}")


def _headline(evaluation: Evaluation | SegmentationEvaluation) -> str:
    """The figures of an evaluation as a table."""
    unit = getattr(evaluation, "unit", "")
    shown = {f"{name} ({unit})" if name in ("hd95", "assd") else name: e for name, e in evaluation.metrics.items()}
    return table(evaluation.split, shown)


def _diagnosis_headline(found: DiagnosisEvaluation) -> str:
    """Figures of patients, of images, at the operating point and of the referral."""
    disease = found.decision.disease(found.patients.classes)
    figures = {
        **found.patients.metrics,
        **{f"image {name}": found.images.metrics[name] for name in ("auc", "accuracy")},
        **{f"{disease}: {name}": figure for name, figure in found.operating.items()},
        **{f"not referred: {name}": figure for name, figure in found.referral.items()},
    }
    return table(f"{found.patients.split}, patients", figures)


def table(title: str, figures: Mapping[str, Estimate]) -> str:
    from medapps.apps.tables import columns

    rows = [["", title, "95 % interval", "n"]]
    for name, figure in figures.items():
        value = f"{figure.value:.4f}" if figure.is_defined else "not defined"
        interval = f"{figure.low:.4f} to {figure.high:.4f}" if figure.has_interval else ""
        rows.append([name.replace("_", " "), value, interval, str(figure.n)])
    return columns(rows)


def show_prediction(made: Prediction | PatientPrediction) -> None:
    from medapps.apps.predict_patients import PatientPrediction
    from medapps.apps.tables import printable

    if isinstance(made, PatientPrediction):
        images = f"{len(made.images)} image{'s' * (len(made.images) > 1)}"
        shown = f"{made.patient}  {made.label}  {made.probability:.3f}  {made.decision}  {images}"
        print(printable(shown), flush=True)
    elif made.error is not None:
        complain(made.error)
    else:
        print(printable(f"{made.name}  {made.label}  {made.probability:.3f}"), flush=True)


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def complain(sentence: str) -> None:
    """One line on standard error, whatever a file calls itself."""
    note("medapps: " + "".join(c if c.isprintable() else " " for c in sentence))
