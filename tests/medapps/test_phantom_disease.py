"""The phantom diseases: synthetic, split by patient, the same bytes again, and a lesion where it is said to be."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medapps.errors import InputError
from medapps.phantom import DISEASES, make_dataset, make_disease_dataset
from medapps.phantom.disease import Lesion, draw_lesions, make_disease_slice
from medapps.phantom.patient import draw_patient
from medapps.readers import read_dataset, read_image

SMALL = {"patients": 15, "images_per_patient": 2, "size": 48}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_disease_dataset(tmp_path_factory.mktemp("phantom") / "data", seed=3, **SMALL)


def test_it_reads_as_class_folders_split_by_patient(made):
    data = read_dataset(made, image_size=32)
    assert data.classes == tuple(sorted(DISEASES))
    assert data.synthetic
    groups = [set(split.groups) for _, split in data.splits()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 15
    for _, split in data.splits():
        for group in set(split.groups):
            own = [label for g, label in zip(split.groups, split.labels, strict=True) if g == group]
            assert len(own) == 2
            assert len(set(own)) == 1  # a patient has one disease


def test_everything_says_that_it_is_synthetic(made):
    import pydicom

    description = json.loads((made / "dataset.json").read_text())
    assert description["synthetic"] is True
    assert "not for diagnosis" in description["note"]
    file = next(made.glob("nodule/*/1.dcm"))
    assert pydicom.dcmread(file).ImageComments == "SYNTHETIC"
    assert read_image(file).modality == "CT"


def test_the_same_arguments_give_the_same_bytes(made, tmp_path):
    again = make_disease_dataset(tmp_path / "again", seed=3, **SMALL)
    other = make_disease_dataset(tmp_path / "other", seed=4, **SMALL)
    names = sorted(p.relative_to(made) for p in made.rglob("*.dcm"))
    assert len(names) == 30
    assert all((made / n).read_bytes() == (again / n).read_bytes() for n in names)
    assert any((made / n).read_bytes() != (other / n).read_bytes() for n in names)


@pytest.mark.parametrize("disease", ["nodule", "cavity"])
def test_a_lesion_changes_the_image_where_it_lies_and_a_cavity_is_hollow(disease):
    rng = np.random.default_rng(0)
    patient = draw_patient(rng, tumour=False)
    flat = np.array([[2.0, 0.0, 0.0]])
    lesion = Lesion(70, 0, 18, 0.5, 0.5, 50.0, 0.6 if disease == "cavity" else 0.0, flat)
    size = 96
    plain, changed = (make_disease_slice(patient, each, 0.5, seed=1, size=size) for each in ((), (lesion,)))
    rows, columns = np.nonzero(np.abs(changed.astype(int) - plain) > 400)
    spacing = 1.75 * patient.half_width / size
    middle = (size - 1) / 2
    assert (columns.mean() - middle) * spacing == pytest.approx(70, abs=10)  # turned and shifted on the table
    y, x = round(rows.mean()), round(columns.mean())
    assert (changed[y, x] < -600) == (disease == "cavity")


def test_the_healthy_have_no_lesion():
    rng = np.random.default_rng(0)
    patient = draw_patient(rng, tumour=False)
    assert draw_lesions(rng, patient, "healthy") == ()
    assert all(lesion.hollow > 0 for lesion in draw_lesions(rng, patient, "cavity"))
    assert all(lesion.hollow == 0 for lesion in draw_lesions(rng, patient, "nodule"))


def test_a_folder_of_another_kind_is_left_alone(made, tmp_path):
    with pytest.raises(InputError, match="holds a phantom diseases data set already"):
        make_disease_dataset(made, **SMALL)
    with pytest.raises(InputError, match="is not empty and not a phantom folder"):
        make_dataset(made, patients=3, overwrite=True)
    with pytest.raises(InputError, match="needs 9 patients"):
        make_disease_dataset(tmp_path / "few", patients=3)
