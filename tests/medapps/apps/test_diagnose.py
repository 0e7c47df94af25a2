"""train_diagnosis: a run whose model decides about patients, chosen without a look at the test split."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medapps import NOTICE
from medapps.apps.diagnose import train_diagnosis
from medapps.apps.evaluate import evaluate_run
from medapps.errors import InputError
from medapps.evaluate_diagnosis import DiagnosisEvaluation
from medapps.inference import Decision, DecisionRules, load_model
from medapps.metrics import with_temperature
from tests.medapps.small_data import small_data

QUICK = {"epochs": 2, "widths": [4, 8], "batch_size": 16, "augment": [], "views": [], "image_size": 10}

KINDS = ("uncalibrated", "probability")


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    """Three images of each of 24 training and 12 validation and test patients."""
    return save(tmp_path / "small.npz")


def save(path: Path, **changes: object) -> Path:
    arrays: dict[str, object] = {"class_names": np.array(["flu", "normal"])}
    for name, split in small_data(72).splits():
        order = np.argsort(split.labels, kind="stable")
        arrays |= {f"{name}_images": split.images[order, 0], f"{name}_labels": split.labels[order]}
        arrays[f"{name}_groups"] = np.array([f"{name} {i // 3}" for i in range(len(order))])
    np.savez(path, **(arrays | changes))  # type: ignore[arg-type]
    return path


def test_a_run_decides_about_patients_and_is_judged_so(npz: Path, tmp_path: Path) -> None:
    train_diagnosis(npz, tmp_path / "run", **QUICK)
    decision = Decision.from_dict(load_model(tmp_path / "run").card.decision, ("flu", "normal"))
    assert (decision.healthy, decision.pooling, decision.threshold_rule) == ("normal", "mean", "Youden")
    found = evaluate_run(tmp_path / "run")
    assert isinstance(found, DiagnosisEvaluation)
    assert (found.patients.n, found.images.n) == (12, 36)
    assert (
        DiagnosisEvaluation.from_json((tmp_path / "run" / "evaluation.json").read_text()).to_json() == found.to_json()
    )
    with (tmp_path / "run" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert {row["images"] for row in rows} == {"3"}
    assert {row["notice"] for row in rows} == {NOTICE}
    right = sum(row["truth"] == row["predicted"] for row in rows) / 12
    assert right == pytest.approx(found.patients.metrics["accuracy"].value)
    assert len((tmp_path / "run" / "predictions-images.csv").read_text().splitlines()) == 37


def test_the_test_split_has_no_say_in_the_decision(npz: Path, tmp_path: Path) -> None:
    train_diagnosis(npz, tmp_path / "one", **QUICK)
    with np.load(npz) as held:
        swapped = {**held, "test_labels": 1 - held["test_labels"], "test_images": 255 - held["test_images"]}
    np.savez(tmp_path / "other.npz", **swapped)
    train_diagnosis(tmp_path / "other.npz", tmp_path / "two", **QUICK)
    one, two = (load_model(tmp_path / name).card.decision for name in ("one", "two"))
    assert one == two


def test_a_decision_can_be_chosen_anew_without_training_again(npz: Path, tmp_path: Path) -> None:
    history = train_diagnosis(npz, tmp_path / "run", **QUICK)
    rules = DecisionRules(pooling="log_mean", sensitivity=0.9, refer_below=0.0, healthy="flu")
    assert train_diagnosis(npz, tmp_path / "run", rules=rules, resume=True) == history
    decision = load_model(tmp_path / "run").card.decision
    assert decision is not None
    assert (decision["pooling"], decision["healthy"], decision["refer_below"]) == ("log_mean", "flu", 0.0)
    assert decision["threshold_rule"] == "sensitivity of 0.9"


def test_rules_that_cannot_be_met_are_refused_before_anything_is_trained(npz: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="healthy: 'cat' is no class of the data"):
        train_diagnosis(npz, tmp_path / "run", rules=DecisionRules(healthy="cat"), **QUICK)
    assert not (tmp_path / "run").exists()


def unsafe_files() -> dict[str, bytes]:
    import io

    files, rng = {}, np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for label in ("flu", "normal"):
            buffer = io.BytesIO()
            PIL.Image.fromarray(rng.integers(0, 255, (10, 10), np.uint8)).save(buffer, "PNG")
            files[f"{split}/{label}/ann-{label if split != 'val' else split}/1.png"] = buffer.getvalue()
    return files


@pytest.mark.parametrize("kind", ["folder", "zip", "npz"])
def test_a_patient_in_two_splits_is_refused_in_one_sentence(kind: str, tmp_path: Path) -> None:
    source = tmp_path / f"data.{kind}"
    if kind == "npz":
        save(source, test_groups=np.array([f"train {i // 3}" for i in range(36)]))
    elif kind == "zip":
        with zipfile.ZipFile(source, "w") as archive:
            for name, data in unsafe_files().items():
                archive.writestr(name, data)
    else:
        for name, data in unsafe_files().items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(data)
    with pytest.raises(InputError, match=r"unsafe split: images of .* are in train and in test") as caught:
        train_diagnosis(source, tmp_path / "run", **QUICK)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_both_probabilities_of_a_patient_are_written(npz: Path, tmp_path: Path) -> None:
    train_diagnosis(npz, tmp_path / "run", rules=DecisionRules(pooling="max"), **QUICK)
    evaluate_run(tmp_path / "run")
    with (tmp_path / "run" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    temperature = load_model(tmp_path / "run").card.decision["temperature"]  # type: ignore[index]
    before, after = (np.array([[float(r[f"{k} {c}"]) for c in ("flu", "normal")] for r in rows]) for k in KINDS)
    assert with_temperature(before, temperature) == pytest.approx(after, abs=1e-4)  # six digits are written
    assert temperature == 1.0 or np.abs(before - after).max() > 1e-3
