"""evaluate_run: the test split judged once, with files that a report can be made of."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from medapps import NOTICE
from medapps.apps.classify import train_classifier
from medapps.apps.evaluate import evaluate_run
from medapps.apps.predict import predict_files
from medapps.errors import InputError
from medapps.evaluate import Evaluation
from tests.medapps.small_data import small_data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    arrays = {}
    for name, split in small_data().splits():
        arrays |= {f"{name}_images": split.images[:, 0], f"{name}_labels": split.labels}
    np.savez(folder / "small.npz", **arrays)
    views = [{"name": "flip", "params": {"y": True}}]
    train_classifier(folder / "small.npz", folder / "run", epochs=3, widths=[4], batch_size=12, lr=0.02, views=views)
    return folder / "run"


def test_figures_are_those_of_the_predictions(run: Path) -> None:
    result = evaluate_run(run)
    with (run / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = np.mean([row["truth"] == row["predicted"] for row in rows])
    assert result.n == len(rows) == 24
    assert result.split == "test"
    assert result.metrics["accuracy"].value == pytest.approx(right)
    assert {row["notice"] for row in rows} == {NOTICE}


def test_predicting_the_same_pictures_gives_the_same_probabilities(run: Path) -> None:
    evaluate_run(run)
    with (run / "predictions.csv").open(newline="") as file:
        wanted = [float(row["probability class 1"]) for row in csv.DictReader(file)]
    made = [p for p in predict_files(run.parent / "small.npz", run) if "test_images" in p.name]
    assert [p.probabilities["class 1"] for p in made if p.probabilities] == pytest.approx(wanted, abs=2e-6)


def test_the_evaluation_on_disk_is_the_one_returned(run: Path) -> None:
    result = evaluate_run(run)
    held = Evaluation.from_json((run / "evaluation.json").read_text())
    assert held.to_json() == result.to_json()
    assert held.cost is not None
    assert held.cost.parameters == 44 + 2 * 152 + 10  # stem, block, head
    assert held.cost.seconds > 0


def test_examples_hold_the_mistakes_and_the_uncertain(run: Path) -> None:
    evaluate_run(run)
    with np.load(run / "examples.npz", allow_pickle=False) as held:
        images, labels, p, names = (held[key] for key in ("images", "labels", "probabilities", "names"))
    with (run / "predictions.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert images.dtype == np.uint8
    assert len(images) == len(labels) == len(p) == len(names)
    wrong = [name for name, row in rows.items() if row["truth"] != row["predicted"]]
    assert set(wrong[:12]) <= set(names.tolist()) or len(wrong) > 12
    least = min(rows.values(), key=lambda row: abs(float(row["probability class 1"]) - 0.5))
    assert least["name"] in names


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        evaluate_run(tmp_path)


def test_data_that_moved_can_be_named_and_other_data_is_refused(run: Path, tmp_path: Path) -> None:
    here = run.parent / "small.npz"
    moved = tmp_path / "moved.npz"
    moved.write_bytes(here.read_bytes())
    assert evaluate_run(run, data_path=moved).n == 24
    np.savez(tmp_path / "other.npz", train_images=np.zeros((30, 8, 8), np.uint8), train_labels=np.arange(30) % 2)
    with pytest.raises(InputError, match="is not the data that"):
        evaluate_run(run, data_path=tmp_path / "other.npz")
