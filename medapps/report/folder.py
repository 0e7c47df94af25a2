"""What a report can draw on: the files of a run folder, each read and checked, or known to be missing."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.evaluate import Evaluation
from medapps.evaluate_diagnosis import DiagnosisEvaluation
from medapps.files import read_json
from medapps.readers.npz import load_arrays
from medapps.segmentation_examples import EXAMPLE_LIMITS, SegmentationExamples, read_segmentation_examples
from medapps.segmentation_result import SegmentationEvaluation

__all__ = ["Examples", "RunFiles", "RunFolder", "Scores", "SegmentationFiles", "read_run"]

_DIGESTED = ("model.safetensors", "evaluation.json", "predictions.csv", "cases.csv")
_FORMULA = "=+-@\t\r"  # cells that start so were written with an apostrophe in front
Judged: TypeAlias = Evaluation | SegmentationEvaluation | DiagnosisEvaluation
_KINDS: Mapping[str, type[Judged]] = {"segment": SegmentationEvaluation, "diagnose": DiagnosisEvaluation}
_AGAIN = "run `medapps evaluate` again"


@dataclass(frozen=True, eq=False)
class Scores:
    """predictions.csv: probabilities (N, K), labels (N,) and names of all judged cases.

    uncalibrated: (N, K) before the temperature, where there is one.
    """

    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    uncalibrated: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Examples:
    """examples.npz: pictures (M, C, H, W), uint8, with labels (M,), probabilities (M, K) and names.

    maps: heat maps (M, H, W), uint8, and sizes: (M,), images of each patient; of a diagnosis alone.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    names: tuple[str, ...]
    maps: NDArray[np.uint8] | None = None
    sizes: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class RunFolder:
    """What the folder of every run holds; what is missing is empty.

    recipe, data, versions: from recipe.json; card: from the head of model.safetensors.
    history: a table of numbers for each epoch.
    digests: SHA-256 of the files that a result rests on.
    """

    folder: Path
    recipe: Mapping[str, Any]
    data: Mapping[str, Any]
    versions: Mapping[str, Any]
    history: tuple[dict[str, float], ...]
    card: Mapping[str, Any]
    digests: dict[str, str]


@dataclass(frozen=True, eq=False)
class RunFiles(RunFolder):
    """The folder of a classification or a diagnosis; what is missing is None.

    evaluation: of images, or of patients where `diagnosis` tells more about them.
    """

    evaluation: Evaluation | None
    diagnosis: DiagnosisEvaluation | None
    scores: Scores | None
    examples: Examples | None


@dataclass(frozen=True, eq=False)
class SegmentationFiles(RunFolder):
    """The folder of a segmentation; what is missing is None."""

    evaluation: SegmentationEvaluation | None
    examples: SegmentationExamples | None


def read_run(folder: Path) -> RunFiles | SegmentationFiles:
    """Read a run folder; the task in evaluation.json, or else in recipe.json, says what kind of run it is.

    Raises:
        InputError: if it holds neither recipe.json nor evaluation.json, or a file in it is damaged.
    """
    known = [name for name in ("recipe.json", "evaluation.json") if (folder / name).is_file()]
    if not known:
        raise InputError(f"{folder}: holds no run; give a folder that `medapps train` or `medapps demo` wrote")
    head = _table(folder / "recipe.json")
    common = _common(folder, head)
    judged = _evaluation(folder / "evaluation.json")
    if isinstance(judged, SegmentationEvaluation) or (judged is None and common["recipe"].get("task") == "segment"):
        shown = folder / "examples.npz"
        return SegmentationFiles(
            **common,
            evaluation=judged,
            examples=read_segmentation_examples(shown, judged) if judged and shown.is_file() else None,
        )
    diagnosis = judged if isinstance(judged, DiagnosisEvaluation) else None
    evaluation = judged.patients if isinstance(judged, DiagnosisEvaluation) else judged
    return RunFiles(
        **common,
        evaluation=evaluation,
        diagnosis=diagnosis,
        scores=_scores(folder / "predictions.csv", evaluation) if evaluation else None,
        examples=_examples(folder / "examples.npz", evaluation) if evaluation else None,
    )


def _common(folder: Path, head: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `RunFolder`."""
    return {
        "folder": folder,
        "recipe": _inner(head, "recipe", folder),
        "data": _inner(head, "data", folder),
        "versions": {**({"medapps": head["medapps"]} if "medapps" in head else {}), **_inner(head, "versions", folder)},
        "history": _history(folder / "history.json"),
        "card": _card(folder / "model.safetensors"),
        "digests": {name: _sha256(folder / name) for name in _DIGESTED if (folder / name).is_file()},
    }


def _table(file: Path) -> Mapping[str, Any]:
    found = read_json(file) if file.is_file() else {}
    if not isinstance(found, Mapping):
        raise InputError(f"{file}: must hold a table, got {type(found).__name__}")
    return found


def _inner(table: Mapping[str, Any], name: str, folder: Path) -> Mapping[str, Any]:
    found = table.get(name, {})
    if not isinstance(found, Mapping):
        raise InputError(f"{folder / 'recipe.json'}: {name} must be a table, got {type(found).__name__}")
    return found


def _history(file: Path) -> tuple[dict[str, float], ...]:
    rows = read_json(file) if file.is_file() else []
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise InputError(f"{file}: must hold a list of epochs")
    return tuple({str(k): float(v) for k, v in row.items() if isinstance(v, int | float)} for row in rows)


def _evaluation(file: Path) -> Judged | None:
    """What evaluation.json holds; older ones do not tell their task, and are classifications."""
    if not file.is_file():
        return None
    kind = _KINDS.get(str(_table(file).get("task")), Evaluation)
    try:
        return kind.from_json(_read_text(file))
    except InputError as error:
        raise InputError(f"{file}: {error}; {_AGAIN}") from error


def _scores(file: Path, evaluation: Evaluation) -> Scores | None:
    if not file.is_file():
        return None
    try:
        head, *rows = csv.reader(io.StringIO(_read_text(file)))
        columns = [i for i, name in enumerate(head) if name.startswith("probability ")]
        numbers = {name: k for k, name in enumerate(evaluation.classes)}
        truth, name = head.index("truth"), head.index("name")
        labels = np.array([numbers[_plain_cell(row[truth])] for row in rows], np.int64)
        probabilities = np.array([[float(row[i]) for i in columns] for row in rows], np.float64)
        raw = [i for i, name in enumerate(head) if name.startswith("uncalibrated ")]
        before = np.array([[float(row[i]) for i in raw] for row in rows], np.float64) if raw else None
        names = tuple(row[name] for row in rows)
    except (ValueError, KeyError, IndexError, csv.Error):
        raise InputError(f"{file}: is not a table of predictions for this run's classes; {_AGAIN}") from None
    k = len(evaluation.classes)
    tables = [probabilities] if before is None else [probabilities, before]
    fits = all(table.shape == (evaluation.n, k) and np.isfinite(table).all() for table in tables)
    if not fits or (np.bincount(labels, minlength=k) != evaluation.confusion.sum(1)).any():
        raise InputError(f"{file}: does not belong to evaluation.json ({evaluation.n} cases); {_AGAIN}")
    return Scores(probabilities, labels, names, before)


def _plain_cell(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and cell[1:2] and cell[1] in _FORMULA else cell


def _examples(file: Path, evaluation: Evaluation) -> Examples | None:
    if not file.is_file():
        return None
    try:
        held = load_arrays(file, EXAMPLE_LIMITS)
        images, labels, p = (held[name] for name in ("images", "labels", "probabilities"))
        names = tuple(str(name) for name in held["names"])
        maps, sizes = (held.get(name) for name in ("maps", "sizes"))
    except (KeyError, InputError):
        raise InputError(f"{file}: is damaged or not a file of examples; {_AGAIN}") from None
    k = len(evaluation.classes)
    fits = (
        images.ndim == 4
        and images.dtype == np.uint8
        and images.shape[1] in (1, 3)
        and min(images.shape[2:]) > 0
        and len(images) == len(names)
        and labels.shape == (len(images),)
        and labels.dtype.kind in "iu"
        and bool(((labels >= 0) & (labels < k)).all())
        and p.shape == (len(images), k)
        and bool(np.isfinite(p).all())
        and (maps is None or (maps.shape == (len(images), *images.shape[2:]) and maps.dtype == np.uint8))
        and (sizes is None or (sizes.shape == (len(images),) and sizes.dtype.kind in "iu"))
    )
    if not fits:
        raise InputError(f"{file}: does not hold pictures of this run's {k} classes; {_AGAIN}")
    return Examples(images, labels.astype(np.int64), p.astype(np.float64), names, maps, sizes)


def _card(file: Path) -> Mapping[str, Any]:
    """What the model file says about itself; only its head is read."""
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        return {}
    try:
        with safe_open(file, framework="np") as held:
            found = json.loads((held.metadata() or {}).get("medapps_model", "{}"))
    except (OSError, ValueError, RecursionError, SafetensorError):
        raise InputError(f"{file}: is damaged or not a model file") from None
    return found if isinstance(found, Mapping) else {}


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _read_text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise InputError(f"{file}: could not be read ({error.strerror or error})") from error
    except UnicodeDecodeError:
        raise InputError(f"{file}: is not a text file; {_AGAIN}") from None
