"""Decide about patients: `medapps predict` with a model that `medapps train diagnose` made.

Files are put together by patient: DICOM's PatientID, `personNNN_` in the name, the first folder below the one that was
named, an npz's `_groups`; else a file stands alone. Whatever the patient is called, results know a key in its place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps import NOTICE
from medapps.apps.predict import Prediction, check_target, find_files, pictures
from medapps.apps.tables import csv_text
from medapps.errors import InputError
from medapps.explain import draw_overlay, grad_cam
from medapps.files import make_folder, write_bytes, write_text
from medapps.inference import Card, Classifier, Decision, gather_cases, load_model, predict_probabilities
from medapps.readers.dicom import patient_key
from medapps.readers.folder import person_in_name
from medapps.readers.read import file_bytes
from medapps.transforms import Compose

__all__ = ["PatientPrediction", "predict_patients"]


@dataclass(frozen=True)
class PatientPrediction:
    """What was decided about one patient.

    patient: a key that is equal for the files of a patient, not a name.
    label, probabilities: the most probable class, and all calibrated probabilities.
    decision: the call at the operating point, or "refer to a human".
    images: how the images are called, as many as were used.
    """

    patient: str
    label: str
    probabilities: dict[str, float]
    decision: str
    images: tuple[str, ...]

    @property
    def probability(self) -> float:
        """How probable the model thinks `label` is."""
        return self.probabilities[self.label]


@dataclass(frozen=True, eq=False)
class _Seen:
    """One image: whose, its name, its pixels (C, H, W), and the network's opinion (K,)."""

    patient: str
    name: str
    pixels: NDArray[Any]
    probabilities: NDArray[np.float64]


def predict_patients(
    paths: str | Path | Sequence[str | Path],
    model: str | Path,
    *,
    output: str | Path | None = None,
    explain: str | Path | None = None,
    overwrite: bool = False,
    device: str = "cpu",
    show: Callable[[PatientPrediction | Prediction], None] | None = None,
) -> tuple[tuple[PatientPrediction, ...], tuple[Prediction, ...]]:
    """Decide about the patients whose DICOM, PNG, JPEG and .npz files are named or lie in the folders among `paths`.

    model: a diagnosis model.safetensors, or the run folder that holds it.
    output: a .csv or .json file to write the results to.
    explain: a folder to write a heat map of each image into, <patient>-<image>.png, with the notice drawn on it.
    overwrite: replace output and explain if they are there.
    device: "cpu", "cuda", or "auto", which is "cuda" where it can be used.
    show: called with each refused file, and then with each patient.

    Returns:
        What was decided, patient by patient in the order of their files, and a `Prediction` with an error for each
        file that cannot be used; the patient is then judged by the others.

    Raises:
        DeviceError: if the device cannot be used.
        InputError: if the model cannot be used or decides about nobody, or there is nothing to predict.
    """
    target = check_target(output, overwrite)
    maps = _free_folder(explain, overwrite)
    classifier = load_model(model, device)
    if classifier.card.decision is None:
        raise InputError(f"{model}: classifies images; to decide about patients train with `medapps train diagnose`")
    tell = show or (lambda made: None)
    seen, refused = _look(paths, classifier, tell)
    made = _decide(seen, classifier.card)
    for each in made:
        tell(each)
    if maps:
        _explain(maps, seen, made, classifier)
    if target:
        text = _csv if target.suffix == ".csv" else _json
        write_text(target, text(made, refused, classifier.card))
    return made, refused


def _free_folder(explain: str | Path | None, overwrite: bool) -> Path | None:
    if explain is None:
        return None
    folder = Path(explain)
    if not overwrite and folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: is not empty; name another folder for the heat maps, or add --overwrite")
    return make_folder(folder)


def _look(
    paths: str | Path | Sequence[str | Path], classifier: Classifier, tell: Callable[[Prediction], None]
) -> tuple[list[_Seen], tuple[Prediction, ...]]:
    """Every image with the network's opinion, and the files that were refused."""
    prepare, views = Compose.from_list(classifier.card.preparation), classifier.card.views
    seen: list[_Seen] = []
    refused: list[Prediction] = []
    for root in [paths] if isinstance(paths, str | Path) else paths:
        for file in find_files([root]):
            try:
                found = list(_named(file, Path(root), classifier.card))
            except InputError as error:
                refused.append(Prediction(str(file), error=str(error)))
                tell(refused[-1])
                continue
            images = prepare.apply(np.stack([pixels for _, _, pixels in found]))
            opinions = predict_probabilities(classifier.model, images, views=views)
            seen += [_Seen(*each, p) for each, p in zip(found, opinions, strict=True)]
    return seen, tuple(refused)


def _named(file: Path, root: Path, card: Card) -> Iterator[tuple[str, str, NDArray[Any]]]:
    """(patient, name, pixels) of each picture in a file."""
    inside = list(pictures(file, card))
    is_npz = file.suffix.lower() == ".npz"
    whose = _npz_patients(file) if is_npz else [_patient(file, root)] * len(inside)
    for patient, (name, pixels) in zip(whose, inside, strict=True):
        yield patient, name, pixels


def _patient(file: Path, root: Path) -> str:
    """The key of the patient of an image file that was found below `root`, or is `root`."""
    data = file_bytes(file)
    key = patient_key(data, str(file)) if data[128:132] == b"DICM" else None
    below = file.relative_to(root).parts if root.is_dir() else file.parts[-1:]
    person = person_in_name(file.name)
    return key or _key(f"{root}/{person or below[0]}")


def _npz_patients(file: Path) -> list[str]:
    """The patients of the arrays `...images`, by the arrays `...groups` beside them."""
    from medapps.readers.npz import load_arrays

    arrays = load_arrays(file)
    whose: list[str] = []
    for name in (n for n in arrays if n.endswith("images")):
        given, n = arrays.get(name.removesuffix("images") + "groups"), len(arrays[name])
        if given is not None and given.size != n:
            raise InputError(f"{file}: {given.size} groups for {n} images in {name}; give one for each image")
        whose += [_key(f"{file}/{name}/{i}" if given is None else f"{file}/{given.reshape(-1)[i]}") for i in range(n)]
    return whose


def _key(text: str) -> str:
    return "patient-" + hashlib.sha256(text.encode()).hexdigest()[:12]


def _decide(seen: Sequence[_Seen], card: Card) -> tuple[PatientPrediction, ...]:
    if not seen:
        return ()
    decision = Decision.from_dict(card.decision, card.classes)
    cases = gather_cases([each.patient for each in seen])
    p = decision.calibrated(decision.pooled(np.stack([each.probabilities for each in seen]), cases.index))
    verdicts = decision.verdicts(p, card.classes)
    names: list[list[str]] = [[] for _ in verdicts]
    for each, i in zip(seen, cases.index, strict=True):
        names[i].append(each.name)
    return tuple(
        PatientPrediction(
            cases.groups[i],
            card.classes[int(row.argmax())],
            {c: float(v) for c, v in zip(card.classes, row, strict=True)},
            verdicts[i],
            tuple(names[i]),
        )
        for i, row in enumerate(p)
    )


def _explain(folder: Path, seen: Sequence[_Seen], made: Sequence[PatientPrediction], classifier: Classifier) -> None:
    """A heat map for each image, of the class that the patient is called."""
    prepare = Compose.from_list(classifier.card.preparation)
    of_patient = {each.patient: each for each in made}
    done: dict[str, int] = {}
    for each in seen:
        number = done[each.patient] = done.get(each.patient, 0) + 1
        called = of_patient[each.patient]
        prepared = prepare.apply(each.pixels[None])[0]
        heat = grad_cam(classifier.model, prepared, classifier.card.classes.index(called.label))
        title = f"{each.patient}, image {number}: {called.label} {called.probability:.2f}, {called.decision}"
        write_bytes(folder / f"{each.patient}-{number}.png", draw_overlay(each.pixels, heat, title))


def _csv(made: Sequence[PatientPrediction], refused: Sequence[Prediction], card: Card) -> str:
    head = ["patient", "class", *(f"probability {c}" for c in card.classes), "decision", "images", "error", "notice"]
    rows = [
        [
            each.patient,
            each.label,
            *(f"{each.probabilities[c]:.6f}" for c in card.classes),
            each.decision,
            str(len(each.images)),
            "",
            NOTICE,
        ]
        for each in made
    ]
    empty = [""] * (len(card.classes) + 4)
    return csv_text(head, [*rows, *([*empty, each.error or "", NOTICE] for each in refused)])


def _json(made: Sequence[PatientPrediction], refused: Sequence[Prediction], card: Card) -> str:
    results = [
        {
            "patient": each.patient,
            "class": each.label,
            "probabilities": each.probabilities,
            "decision": each.decision,
            "images": list(each.images),
        }
        for each in made
    ]
    content = {
        "notice": NOTICE,
        "classes": list(card.classes),
        "decision": card.decision,
        "trained_on": dict(card.data),
        "results": results,
        "refused": [{"file": each.name, "error": each.error} for each in refused],
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
