"""The report of a diagnosis: whole, in patients, with heat maps, and safe and sayable when parts are missing."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest

from medapps.apps.judge_diagnosis import judge_diagnosis
from medapps.evaluate import Cost
from medapps.inference import Card, Classifier, Decision
from medapps.models import ResidualCNN
from medapps.readers import Split
from medapps.report import write_report
from tests.medapps.report.fake_run import history, recipe, write_json, write_model

CLASSES = ("bacteria", "normal", "virus")


def make_run(folder, classes=CLASSES, **changes):
    """Judge 40 patients with 2 images each by a network that knows nothing, and probabilities that do."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(40) % 3, 2)
    raw = rng.random((80, 3)) + 0.9 * np.eye(3)[labels]
    groups = tuple(f"p{i // 2}" for i in range(80))
    images = rng.integers(0, 255, (80, 1, 12, 12)).astype(np.uint8)
    decision = {"healthy": classes[1], "threshold": 0.5, "threshold_rule": "Youden", "refer_below": 0.55, **changes}
    architecture = {"name": "residual_cnn", "in_channels": 1, "classes": 3, "widths": [4]}
    card = Card(architecture, (), (1, 12, 12), classes, decision=Decision(temperature=0.8, **decision).to_dict())
    classifier = Classifier(ResidualCNN(1, 3, widths=(4,)), card)
    cost = Cost(83.4, 1234.5, 412.0, 77_713, 320_000, 2)
    judge_diagnosis(folder, classifier, raw / raw.sum(1, keepdims=True), Split(images, labels, groups, groups), cost)
    write_json(folder / "recipe.json", recipe(classes, "chest", "plain", False, 80))
    write_json(folder / "history.json", history())
    write_model(folder / "model.safetensors")
    return folder


def page_of(folder):
    return write_report(folder).read_text("utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return page_of(make_run(tmp_path_factory.mktemp("diagnosis") / "run"))


def test_the_page_speaks_of_patients_and_shows_every_section(page):
    assert re.search(r"Right in \d+\.\d % of 40 test patients", page)
    for name in ("decision", "referral", "calibration", "examples"):
        assert page.count(f'<section id="{name}">') == 1
        assert f'href="#{name}"' in page
    for words in (
        "not normal",
        "from a probability of 0.500 up, by Youden",
        "without temperature",
        "coverage",
        "Grad-CAM",
    ):
        assert words in page
    assert "The 80 judged images are of 40 patients" in page
    assert "not for diagnosis" in page


def test_each_example_stands_beside_its_heat_map_and_its_decision(page):
    looks = page.split('<div class="beside">')[1:]
    assert len(looks) >= 12
    assert all(look.split("</div>")[0].count('<img src="data:image/png') == 2 for look in looks)
    assert "refer to a human</b>" in page
    assert "2 images &middot; predictions.csv, row" in page


def test_the_image_that_speaks_most_for_the_call_is_shown(tmp_path):
    run = make_run(tmp_path / "run")
    with (run / "predictions-images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    images = np.random.default_rng(0)
    images.random((80, 3))
    images = images.integers(0, 255, (80, 1, 12, 12)).astype(np.uint8)
    with np.load(run / "examples.npz") as held:
        for name, shown, p in zip(held["names"], held["images"], held["probabilities"], strict=True):
            i = int(name.split()[1]) - 1
            call = CLASSES[p.argmax()]
            pair = [float(rows[2 * i + j][f"probability {call}"]) for j in range(2)]
            assert (shown == images[2 * i + int(np.argmax(pair))]).all()


def test_the_same_files_give_the_same_page(tmp_path):
    run = make_run(tmp_path / "run")
    assert page_of(run) == page_of(run)


def test_names_of_classes_are_text_and_never_markup(tmp_path):
    bad = "<script>alert(1)</script>"
    page = page_of(make_run(tmp_path / "run", classes=(bad, "normal", "virus\u202e")))
    assert "<script" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"healthy": None, "threshold": None, "threshold_rule": "none"}, "Referred: "),
        ({"refer_below": 0.0}, "Nobody was referred."),
        ({"refer_below": 1.0}, "Referred: everybody"),
    ],
)
def test_a_decision_without_a_part_says_so(tmp_path, changes, words):
    page = page_of(make_run(tmp_path / "run", **changes))
    assert words in page
    assert ("Operating point" in page) == ("healthy" not in changes)


@pytest.mark.parametrize("name", ["predictions.csv", "examples.npz", "history.json", "model.safetensors"])
def test_a_missing_file_costs_its_part_alone(tmp_path, name):
    run = make_run(tmp_path / "run")
    (run / name).unlink()
    page = page_of(run)
    assert '<section id="referral">' in page
    assert json.loads((run / "evaluation.json").read_text())["task"] == "diagnose"
