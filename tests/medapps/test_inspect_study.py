"""`medapps inspect` of studies, segmentations and NIfTI files, and `medapps deidentify`, as a terminal shows them."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from medapps.apps.inspect import inspect
from medapps.cli import main
from medapps.readers import read_series
from medapps.writers import Algorithm, write_mask
from tests.medapps.series_files import PLANES, series, volume, write


@pytest.fixture
def study(tmp_path):
    folder = write(tmp_path / "study", series(volume((40, 7, 9)), axes=PLANES["oblique"], BurnedInAnnotation="YES"))
    gap = [ds for z, ds in enumerate(series(uid="1.2.826.0.1.8", PatientIdentityRemoved="YES")) if z != 3]
    write(folder / "more", gap)
    return folder


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(list(arguments))
    return done.value.code or 0


def test_a_study_is_a_table_of_its_series(study, capsys):
    assert run("inspect", str(study)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["series", "kind", "slices", "size", "spacing", "mm", "plane", "verdict"]
    assert lines[2].split()[:5] == ["1", "CT", "40", "7x9", "2.5x1.25x0.75"]
    assert lines[2].split()[-1] == "ok"
    assert lines[3].split() == ["2", "CT", "5", "7x9", "?x1.25x0.75", "axial", "G101"]
    assert lines[4].startswith("series 2  G101 missing slice: slice 4 of 6 is missing, after ")
    assert lines[5] == "privacy   names a patient (1); burned-in text (1)"
    assert max(map(len, lines[1:4])) <= 80
    assert "Secret" not in "".join(lines)


def test_the_widest_row_fits_into_80_columns(tmp_path):
    wide = series(np.zeros((2, 1024, 1024), np.uint16), axes=PLANES["oblique"], spacing=(0.625, 0.195312, 0.195312))
    wide[1].FrameOfReferenceUID = "1.2.3"
    table = inspect(write(tmp_path / "s", wide))
    assert len("series 1  " + table["series"]) <= 80
    assert len("series 1  " + table["1"]) <= 80


def test_a_segmentation_and_a_nifti_file_are_described(study, tmp_path, capsys):
    image = read_series(study, 1)
    mask = np.zeros(image.shape[1:], np.uint8)
    mask[3:5, 2:4, 2:4] = 1
    tool, names = Algorithm("x", "1"), ("background", "liver", "spleen")
    for suffix in (".dcm", ".nii.gz"):
        write_mask(tmp_path / f"m{suffix}", mask, image, names, algorithm=tool, source=study)
    assert run("inspect", str(tmp_path / "m.dcm"), str(tmp_path / "m.nii.gz")) == 0
    out = capsys.readouterr().out
    assert "frames        2 of 7 x 9 pixels" in out
    assert "segments      1 liver, 2 spleen" in out
    assert "size      1 channel, 40 slices of 7 x 9 pixels, uint8" in out
    assert "spacing   2.5 x 1.25 x 0.75 mm (z, y, x)" in out
    several = nibabel.Nifti1Image(np.zeros((4, 5, 6, 3), np.int16), np.eye(4))
    (tmp_path / "several.nii").write_bytes(several.to_bytes())
    assert inspect(tmp_path / "several.nii")["volumes"] == "3"


def test_class_folders_stay_data_sets(tmp_path):
    for split in ("train", "val", "test"):
        for label in ("a", "b"):
            folder = tmp_path / "set" / split / label
            folder.mkdir(parents=True)
            (ds,) = series(volume((1, 7, 9)), uid=f"1.2.{len(split)}.{ord(label)}")
            ds.PatientID = f"{split}{label}"
            write(folder, [ds])
    assert "data set" in inspect(tmp_path / "set")


def test_deidentify_says_what_it_did_and_what_is_left_to_do(study, tmp_path, capsys):
    assert run("deidentify", str(study), "-o", str(tmp_path / "out"), "--dates", "shift", "--retain", "patient") == 0
    out = capsys.readouterr().out
    assert "45 files of 2 series written to" in out
    assert "45 of them do not say that no text is burned into their pixels: look at them" in out
    assert run("deidentify", str(study), "-o", str(tmp_path / "out")) == 2
    assert "choose a new folder" in capsys.readouterr().err
    assert run("deidentify", str(study), "-o", str(tmp_path / "other"), "--dates", "keep") == 2
