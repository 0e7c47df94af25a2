"""predict_patients: one decision a patient, whichever way the patient is known, and a key in place of any name."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import minidl
from medapps import NOTICE
from medapps.apps.predict import predict_files
from medapps.apps.predict_patients import predict_patients
from medapps.errors import InputError
from medapps.inference import REFERRED, Card, Classifier, Decision, load_model, save_model
from medapps.models import build_model
from tests.medapps.readers.dicom_files import dicom

ARCHITECTURE = {"name": "residual_cnn", "in_channels": 1, "classes": 3, "widths": [4]}
CLASSES = ("flu", "normal", "other")
RNG = np.random.default_rng(0)


def made(path: Path, **decision: object) -> Path:
    minidl.manual_seed(0)
    prepare = ({"name": "standardise", "mean": [128.0], "sd": [64.0]},)
    plain = Decision(**{"temperature": 0.5, **decision}).to_dict()  # type: ignore[arg-type]
    card = Card(ARCHITECTURE, prepare, (1, 12, 12), CLASSES, decision=plain)
    return save_model(path, Classifier(build_model(ARCHITECTURE), card))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return made(tmp_path / "model.safetensors")


def pixels() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return RNG.integers(0, 256, (12, 12), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ann in a folder of her own, two files that name Ben, one DICOM patient in two places, and a broken file."""
    place = tmp_path / "pictures"
    for name in ("Ann Smith/a.png", "Ann Smith/later/b.png", "person7_flu_1.png", "person7_flu_2.png"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(pixels()).save(place / name)
    for name in ("x/1.dcm", "y/2.dcm"):
        (place / name).parent.mkdir()
        (place / name).write_bytes(dicom(pixels(), PatientID="SECRET-7", WindowCenter="128", WindowWidth="256"))
    (place / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return place


def test_files_are_put_together_by_patient(model: Path, folder: Path) -> None:
    shown: list[object] = []
    patients, refused = predict_patients(folder, model, show=shown.append)
    assert sorted(len(p.images) for p in patients) == [2, 2, 2]
    assert [Path(r.name).name for r in refused] == ["broken.png"]
    assert shown == [*refused, *patients]
    together = [{Path(name).name for name in p.images} for p in patients]
    assert {"1.dcm", "2.dcm"} in together
    assert {"a.png", "b.png"} in together


def test_a_patient_gets_the_pooled_and_sharpened_opinion_of_the_images(model: Path, folder: Path) -> None:
    patients, _ = predict_patients(folder / "Ann Smith", model)
    singles = [p for p in predict_files([folder / "Ann Smith"], model) if p.probabilities]
    mean = np.mean([list((p.probabilities or {}).values()) for p in singles], axis=0)
    # below the named folder each file, and "later", stands alone: what was named is not a patient
    assert len(patients) == 2
    (ann,) = (p for p in predict_patients(folder, model)[0] if "a.png" in p.images[0])
    assert list(ann.probabilities.values()) == pytest.approx((mean**2 / (mean**2).sum()).tolist(), rel=1e-6)
    assert ann.probability == max(ann.probabilities.values())


def test_nothing_that_is_written_or_shown_names_a_patient(model: Path, folder: Path, tmp_path: Path) -> None:
    patients, _ = predict_patients(folder, model, output=tmp_path / "out.csv", explain=tmp_path / "maps")
    assert all(p.patient.startswith("patient-") and len(p.patient) == 20 for p in patients)
    text = (tmp_path / "out.csv").read_text() + " ".join(p.name for p in (tmp_path / "maps").iterdir())
    for secret in ("SECRET", "Ann", "person7"):
        assert secret not in text


def test_csv_and_json_hold_decisions_and_the_notice(model: Path, folder: Path, tmp_path: Path) -> None:
    patients, refused = predict_patients(folder, model, output=tmp_path / "out.csv")
    predict_patients(folder, model, output=tmp_path / "out.json")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["patient"] for row in rows] == [*(p.patient for p in patients), ""]
    assert [row["decision"] for row in rows] == [*(p.decision for p in patients), ""]
    assert rows[-1]["error"] == refused[0].error
    assert {row["notice"] for row in rows} == {NOTICE}
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["notice"] == NOTICE
    assert content["decision"]["temperature"] == 0.5
    assert [r["class"] for r in content["results"]] == [p.label for p in patients]


def test_the_operating_point_and_the_referral_decide(folder: Path, tmp_path: Path) -> None:
    at = {"healthy": "normal", "threshold_rule": "Youden"}
    for threshold, word in ((0.0, "not normal"), (1.0, "normal")):
        model = made(tmp_path / "m.safetensors", threshold=threshold, **at)
        assert {p.decision for p in predict_patients(folder, model)[0]} == {word}
    model = made(tmp_path / "m.safetensors", threshold=0.0, refer_below=1.0, **at)
    assert {p.decision for p in predict_patients(folder, model)[0]} == {REFERRED}


def test_there_is_a_heat_map_of_each_image(model: Path, folder: Path, tmp_path: Path) -> None:
    patients, _ = predict_patients(folder, model, explain=tmp_path / "maps")
    names = {p.name for p in (tmp_path / "maps").iterdir()}
    assert names == {f"{p.patient}-{i + 1}.png" for p in patients for i in range(len(p.images))}
    for name in names:
        with PIL.Image.open(tmp_path / "maps" / name) as picture:
            assert picture.size[0] >= 440
            assert (np.asarray(picture)[-22:].max(-1) > 120).sum() > 500  # the notice
    with pytest.raises(InputError, match="is not empty; name another folder for the heat maps"):
        predict_patients(folder, model, explain=tmp_path / "maps")


def test_groups_of_an_npz_are_patients(model: Path, tmp_path: Path) -> None:
    images = np.stack([pixels() for _ in range(4)])
    np.savez(tmp_path / "x.npz", test_images=images, test_groups=np.array([5, 6, 5, 5]))
    patients, _ = predict_patients(tmp_path / "x.npz", model)
    assert [len(p.images) for p in patients] == [3, 1]
    np.savez(tmp_path / "y.npz", test_images=images)
    assert len(predict_patients(tmp_path / "y.npz", model)[0]) == 4
    np.savez(tmp_path / "z.npz", test_images=images, test_groups=np.array([5]))
    (refused,) = predict_patients(tmp_path / "z.npz", model)[1]
    assert "1 groups for 4 images in test_images" in (refused.error or "")


def test_a_classifier_of_images_decides_about_nobody(model: Path, folder: Path, tmp_path: Path) -> None:
    held = load_model(model)
    plain = Card(ARCHITECTURE, held.card.preparation, (1, 12, 12), CLASSES)
    save_model(tmp_path / "plain.safetensors", Classifier(held.model, plain))
    with pytest.raises(InputError, match="classifies images; to decide about patients train with"):
        predict_patients(folder, tmp_path / "plain.safetensors")
