"""Judge a diagnosis run on its test split: decisions about patients, opinions of images, pictures with heat maps."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps import NOTICE
from medapps.apps.tables import csv_text
from medapps.evaluate import Cost
from medapps.evaluate_diagnosis import DiagnosisEvaluation, evaluate_diagnosis
from medapps.explain import grad_cam
from medapps.files import write_bytes, write_text
from medapps.inference import Cases, Classifier, Decision, gather_cases
from medapps.readers import Split
from medapps.transforms import Compose

__all__ = ["judge_diagnosis"]

_SHOWN = 6  # patients of each kind that the report may show
Table = NDArray[np.float64]


def judge_diagnosis(
    folder: Path, classifier: Classifier, probabilities: Table, test: Split, cost: Cost, metrics: Sequence[str] = ()
) -> DiagnosisEvaluation:
    """Measure what the decisions are worth, from the probabilities of the test images, (N, K).

    metrics: names of further figures, which plug-ins bring.

    Writes evaluation.json, predictions.csv (a row for each patient), predictions-images.csv and examples.npz (with
    heat maps) into the run folder.
    """
    classes = classifier.card.classes
    decision = Decision.from_dict(classifier.card.decision, classes)
    found = evaluate_diagnosis(
        probabilities, test.labels, classes, test.groups, decision, split="test", cost=cost, metrics=metrics
    )
    cases = gather_cases(test.groups, test.labels)
    pooled = decision.pooled(probabilities, cases.index)
    calibrated = decision.calibrated(pooled)
    write_text(folder / "predictions.csv", _patients(cases, pooled, calibrated, decision, classes))
    write_text(folder / "predictions-images.csv", _images(probabilities, test, classes))
    write_bytes(folder / "examples.npz", _examples(classifier, probabilities, cases, calibrated, decision, test))
    write_text(folder / "evaluation.json", found.to_json())
    return found


def _patients(cases: Cases, pooled: Table, p: Table, decision: Decision, classes: tuple[str, ...]) -> str:
    assert cases.labels is not None
    head = ["name", "group", "truth", "predicted", *(f"probability {c}" for c in classes), "decision", "images"]
    head += [*(f"uncalibrated {c}" for c in classes), "notice"]
    verdicts = decision.verdicts(p, classes)
    rows = [
        [
            f"patient {i + 1}",
            cases.groups[i],
            classes[int(cases.labels[i])],
            classes[int(p[i].argmax())],
            *(f"{v:.6f}" for v in p[i]),
            verdicts[i],
            str(int(cases.sizes[i])),
            *(f"{v:.6f}" for v in pooled[i]),
            NOTICE,
        ]
        for i in range(len(cases))
    ]
    return csv_text(head, rows)


def _images(probabilities: Table, test: Split, classes: tuple[str, ...]) -> str:
    head = ["name", "group", "truth", "predicted", *(f"probability {c}" for c in classes), "notice"]
    rows = [
        [name, group, classes[label], classes[int(p.argmax())], *(f"{v:.6f}" for v in p), NOTICE]
        for name, group, label, p in zip(test.names, test.groups, test.labels, probabilities, strict=True)
    ]
    return csv_text(head, rows)


def _examples(
    classifier: Classifier, probabilities: Table, cases: Cases, p: Table, decision: Decision, test: Split
) -> bytes:
    """For each chosen patient the image that speaks most for the call, with the heat map of that call."""
    assert cases.labels is not None
    chosen = _chosen(p, cases.labels, decision)
    images = [_telling(probabilities, cases, int(i), int(p[i].argmax())) for i in chosen]
    prepared = Compose.from_list(classifier.card.preparation).apply(test.images[images])
    maps = [
        grad_cam(classifier.model, picture, int(p[i].argmax())) for picture, i in zip(prepared, chosen, strict=True)
    ]
    arrays: dict[str, Any] = {
        "images": test.images[images],
        "labels": cases.labels[chosen],
        "probabilities": p[chosen],
        "names": np.array([f"patient {i + 1}" for i in chosen], dtype=np.str_),
        "maps": np.rint(255 * np.stack(maps)).astype(np.uint8),
        "sizes": cases.sizes[chosen],
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _chosen(p: Table, labels: NDArray[np.int64], decision: Decision) -> NDArray[np.int64]:
    """Patients a reader wants to see: surest mistakes, a spread of right calls, the least certain, some referred."""
    top, right = p.max(1), p.argmax(1) == labels
    by_doubt = np.argsort(top, kind="stable")
    kept = top > decision.refer_below
    picked = [
        [i for i in by_doubt[::-1] if kept[i] and not right[i]][:_SHOWN],
        _spread([i for i in by_doubt[::-1] if kept[i] and right[i]]),
        by_doubt[:_SHOWN],
        _spread([i for i in by_doubt if not kept[i]]),
    ]
    return np.unique(np.concatenate([np.asarray(each, np.int64) for each in picked]))


def _spread(chosen: list[Any]) -> list[Any]:
    return [chosen[i] for i in np.linspace(0, len(chosen) - 1, min(_SHOWN, len(chosen))).astype(int)]


def _telling(probabilities: Table, cases: Cases, i: int, call: int) -> int:
    """The image of case `i` with the highest probability of the call."""
    own = np.flatnonzero(cases.index == i)
    return int(own[probabilities[own, call].argmax()])
