"""`train segment` and `predict` with what it made: from a folder of scans to a report and to masks in three forms."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medapps.apps.evaluate import evaluate_run
from medapps.apps.segment import NETS, train_segmenter
from medapps.apps.segment_study import segment_study
from medapps.cli import main
from medapps.errors import InputError
from medapps.phantom import make_dataset
from medapps.readers import read_image, read_nifti, read_seg
from medapps.report import write_report
from medapps.segmentation_result import SegmentationEvaluation

RECIPE = replace(
    NETS["reseg"], widths=(8,), options={"patches": [2], "stem": 6}, epochs=4, samples=96, batch_size=4, patch_size=64,
    lr=0.01, average=0.8, classes=("lung",), modalities=("CT",),
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("phantom") / "data", patients=6, slices_per_patient=2, size=64)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    train_segmenter(data, folder, recipe=RECIPE)
    return folder


@pytest.fixture(scope="module")
def evaluation(run: Path) -> SegmentationEvaluation:
    found = evaluate_run(run)
    assert isinstance(found, SegmentationEvaluation)
    return found


def test_lungs_are_found_and_judged_in_millimetres(evaluation: SegmentationEvaluation, run: Path) -> None:
    assert evaluation.classes == ("background", "lung")
    assert evaluation.unit == "mm"
    assert evaluation.metrics["dice"].value > 0.8  # lungs are dark; anything that learns finds them
    assert evaluation.metrics["dice"].n == evaluation.n
    assert evaluation.groups < evaluation.n
    held = json.loads((run / "evaluation.json").read_text())
    assert (held["task"], held["split"]) == ("segment", "test")
    assert len((run / "cases.csv").read_text().splitlines()) > evaluation.n


def test_the_report_shows_it(evaluation: SegmentationEvaluation, run: Path) -> None:
    page = write_report(run).read_text("utf-8")
    assert "lung" in page
    assert "<script" not in page
    assert "not for diagnosis" in page.lower()


def test_judging_again_gives_the_same_bytes(evaluation: SegmentationEvaluation, run: Path) -> None:
    again = evaluate_run(run)
    assert isinstance(again, SegmentationEvaluation)
    assert again.cases == evaluation.cases
    assert replace(again, cost=None).to_json() == replace(evaluation, cost=None).to_json()


@pytest.mark.parametrize("name", ["mask.nii.gz", "mask.dcm", "mask.png"])
def test_a_mask_is_written_and_read_back_in_its_place(run: Path, data: Path, tmp_path: Path, name: str) -> None:
    scan = next((data / "images").glob("*.dcm"))
    found = segment_study(scan, run, tmp_path / name)
    image = read_image(scan)
    assert found.mask.shape == image.shape[1:]
    assert found.voxels == {"lung": int((found.mask == 1).sum())}
    if name.endswith(".gz"):
        assert (read_nifti(tmp_path / name).array[0] == found.mask).all()
    elif name.endswith(".dcm"):
        mask, names = read_seg(tmp_path / name, image)
        assert names == ("background", "lung")
        assert (mask == found.mask).all()
    else:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="overwrite"):
        segment_study(scan, run, tmp_path / name)


def test_the_command_line_says_what_it_found(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = str(next((data / "images").glob("*.dcm")))
    with pytest.raises(SystemExit) as left:
        main(["predict", scan, "-m", str(run), "-o", str(tmp_path / "mask.nii.gz")])
    shown = capsys.readouterr().out
    assert left.value.code == 0
    assert "lung" in shown
    assert "Not a medical device" in shown
    with pytest.raises(SystemExit) as left:
        main(["predict", scan, scan, "-m", str(run)])
    assert left.value.code == 2
    assert "one study at a time, got 2" in capsys.readouterr().err


def test_what_cannot_be_segmented_is_one_sentence(run: Path, tmp_path: Path) -> None:
    import PIL.Image

    PIL.Image.fromarray(np.zeros((16, 16, 3), np.uint8) + np.arange(3, dtype=np.uint8)).save(tmp_path / "colour.png")
    with pytest.raises(InputError, match="has 3 channels, but the model was made for 1"):
        segment_study(tmp_path / "colour.png", run)
    with pytest.raises(InputError, match="no network is called 'vnet'; known are reseg, unet"):
        train_segmenter(tmp_path, tmp_path / "run", net="vnet")
