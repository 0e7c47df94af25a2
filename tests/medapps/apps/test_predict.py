"""predict_files: one result or one sentence for every file, and the others go on."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from pydicom.data import get_testdata_file

import minidl
from medapps import NOTICE
from medapps.apps.predict import Prediction, predict_files
from medapps.errors import InputError
from medapps.inference import Card, Classifier, load_model, predict_probabilities, save_model
from medapps.models import build_model

ARCHITECTURE = {"name": "residual_cnn", "in_channels": 1, "classes": 2, "widths": [4]}
CARD = Card(ARCHITECTURE, ({"name": "standardise", "mean": [128.0], "sd": [64.0]},), (1, 12, 12), ("no", "yes"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    minidl.manual_seed(0)
    return save_model(tmp_path / "model.safetensors", Classifier(build_model(ARCHITECTURE), CARD))


@pytest.fixture
def pixels() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (12, 12), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Path:
    """Two good pictures, a broken one, a text, and a picture far too small."""
    place = tmp_path / "pictures"
    place.mkdir()
    PIL.Image.fromarray(pixels).save(place / "a.png")
    PIL.Image.fromarray(np.stack([pixels] * 3, -1)).save(place / "b.png")
    (place / "c.png").write_bytes((place / "a.png").read_bytes()[:60])
    (place / "d.txt").write_text("no picture")
    PIL.Image.fromarray(pixels[:2, :2]).save(place / "e.png")
    (place / ".hidden").write_text("not looked at")
    return place


def test_a_picture_gets_the_probabilities_of_its_pixels(model: Path, folder: Path, pixels: np.ndarray) -> None:  # type: ignore[type-arg]
    (made,) = predict_files(folder / "a.png", model)
    prepared = ((pixels.astype(np.float32) - 128) / 64)[None, None]
    expected = predict_probabilities(load_model(model).model, prepared)[0]
    assert made.probabilities is not None
    assert list(made.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-6)
    assert made.label == ("no", "yes")[int(expected.argmax())]
    assert made.probability == max(made.probabilities.values())


def test_each_bad_file_is_one_sentence_and_the_rest_go_on(model: Path, folder: Path) -> None:
    shown: list[Prediction] = []
    made = predict_files(folder, model, show=shown.append)
    assert [Path(p.name).name for p in made] == ["a.png", "b.png", "c.png", "d.txt", "e.png"]
    assert [p.error is None for p in made] == [True, True, False, False, False]
    assert all("\n" not in (p.error or "") for p in made)
    assert "2 x 2 pixels are too few for a model of 12 x 12 pixels" in (made[-1].error or "")
    assert shown == list(made)


def test_grey_saved_as_colour_gives_the_same_answer(model: Path, folder: Path) -> None:
    grey, colour = predict_files([folder / "a.png", folder / "b.png"], model)
    assert grey.probabilities == colour.probabilities


def test_every_picture_of_an_npz_is_classified(model: Path, tmp_path: Path, pixels: np.ndarray) -> None:  # type: ignore[type-arg]
    np.savez(tmp_path / "x.npz", test_images=np.stack([pixels, pixels.T]), test_labels=np.array([0, 1]))
    made = predict_files(tmp_path / "x.npz", model)
    assert [p.name.removeprefix(str(tmp_path)) for p in made] == ["/x.npz[test_images, 0]", "/x.npz[test_images, 1]"]
    assert all(p.error is None for p in made)


def test_another_modality_is_refused(model: Path, tmp_path: Path) -> None:
    held = load_model(model)
    save_model(model, replace(held, card=replace(held.card, modalities=("CT",))))
    ct, mr = predict_files([get_testdata_file("CT_small.dcm"), get_testdata_file("MR_small.dcm")], model)
    assert ct.error is None
    assert "is of modality MR, but the model was made for CT" in (mr.error or "")


def test_each_frame_of_a_file_is_classified(model: Path) -> None:
    made = predict_files(get_testdata_file("SC_rgb_rle_2frame.dcm"), model)
    assert [Path(p.name).name for p in made] == ["SC_rgb_rle_2frame.dcm[frame 1]", "SC_rgb_rle_2frame.dcm[frame 2]"]
    assert all(p.error is None for p in made)


def test_json_and_csv_hold_all_results_and_the_notice(model: Path, folder: Path, tmp_path: Path) -> None:
    made = predict_files(folder, model, output=tmp_path / "out.json")
    predict_files(folder, model, output=tmp_path / "out.csv")
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["notice"] == NOTICE
    assert [r.get("class") for r in content["results"]] == [p.label for p in made]
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == [p.label or "" for p in made]
    assert [row["error"] for row in rows] == [p.error or "" for p in made]
    assert {row["notice"] for row in rows} == {NOTICE}


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("out.txt", r"are written as \.csv or \.json"),
        ("no/out.csv", "there is no folder"),
        ("old.csv", "is there already"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_any_work(
    model: Path, folder: Path, tmp_path: Path, output: str, message: str
) -> None:
    (tmp_path / "old.csv").write_text("old")
    shown: list[Prediction] = []
    with pytest.raises(InputError, match=message):
        predict_files(folder, model, output=tmp_path / output, show=shown.append)
    assert shown == []
    assert (tmp_path / "old.csv").read_text() == "old"


def test_nothing_to_predict_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no files to predict"):
        predict_files(tmp_path / "empty", model)
    with pytest.raises(InputError, match="name at least one file"):
        predict_files([], model)


def test_a_missing_file_is_a_sentence(model: Path, tmp_path: Path) -> None:
    for name in ("x.png", "x.npz"):
        (made,) = predict_files(tmp_path / name, model)
        assert "there is no such file" in (made.error or "")
