"""Segmentation data: pairs of files, .npz and phantom folders, and what is refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medapps.errors import InputError
from medapps.phantom import make_dataset
from medapps.readers import Case, SegmentationData, read_image, read_segmentation
from medapps.writers import Algorithm, write_mask
from tests.data import data_path
from tests.medapps.series_files import PLANES, series, volume, write
from tests.medapps.small_masks import small_masks


def write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


def pairs(folder: Path, names: list[str], high: int = 255, split: str = "") -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        mask = (rng.random((8, 9)) > 0.6).astype(np.uint8) * high
        mask[0, :2] = (0, high)
        write_png(folder / split / "images" / f"{name}.png", rng.integers(0, 256, (8, 9)).astype(np.uint8))
        write_png(folder / split / "masks" / f"{name}_mask.png", mask)
    return folder


def test_png_pairs_are_matched_by_name_and_0_255_becomes_0_1(tmp_path: Path) -> None:
    data = read_segmentation(pairs(tmp_path, [f"p{i}" for i in range(10)]))
    assert data.classes == ("background", "class 1")
    assert [len(cases) for _, cases in data.splits()] == [6, 2, 2]
    for case in data.train:
        truth = np.asarray(PIL.Image.open(tmp_path / "masks" / f"{case.name}_mask.png"))
        assert (case.mask[0] == (truth > 0)).all()
        grey = np.asarray(PIL.Image.open(tmp_path / "images" / f"{case.name}.png"))
        assert (case.image.array[0, 0] == grey).all()


def test_folders_and_splits_json_decide_the_splits(tmp_path: Path) -> None:
    for split, names in (("train", ["a", "b"]), ("val", ["c"]), ("test", ["d"])):
        pairs(tmp_path / "by_folder", names, split=split)
    data = read_segmentation(tmp_path / "by_folder")
    assert [[c.name for c in cases] for _, cases in data.splits()] == [["a", "b"], ["c"], ["d"]]
    folder = pairs(tmp_path / "by_list", ["a", "b", "c", "d", "unused"])
    (folder / "splits.json").write_text(json.dumps({"train": ["a", "b"], "val": ["c"], "test": ["d"]}))
    data = read_segmentation(folder)
    assert [[c.name for c in cases] for _, cases in data.splits()] == [["a", "b"], ["c"], ["d"]]


def test_dataset_json_names_the_values(tmp_path: Path) -> None:
    folder = pairs(tmp_path, list("abcdefgh"), high=7)
    labels = {"0": "background", "3": "kidney", "7": "spleen"}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert read_segmentation(folder).classes == ("background", "kidney", "spleen")
    only = read_segmentation(folder, classes=["spleen"])
    assert only.classes == ("background", "spleen")
    assert only.train[0].mask.max() == 1
    with pytest.raises(InputError, match="has no class 'liver'; it has background, kidney, spleen"):
        read_segmentation(folder, classes=["liver"])
    (folder / "dataset.json").write_text(json.dumps({"labels": {"0": "background"}}))
    with pytest.raises(InputError, match=r"holds 7, which dataset\.json does not name"):
        read_segmentation(folder)


def test_what_is_wrong_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        read_segmentation(tmp_path / "missing")
    with pytest.raises(InputError, match="has no folder 'images'"):
        read_segmentation(tmp_path)
    folder = pairs(tmp_path / "lonely", list("abcd"))
    (folder / "masks" / "c_mask.png").unlink()
    with pytest.raises(InputError, match="c has no label map of its name"):
        read_segmentation(folder)
    folder = pairs(tmp_path / "size", list("abcd"))
    write_png(folder / "masks" / "b_mask.png", np.zeros((3, 3), np.uint8))
    with pytest.raises(InputError, match="is not a label map of 8 x 9 pixels"):
        read_segmentation(folder)


def test_a_listed_file_cannot_lie_outside(tmp_path: Path) -> None:
    entry = {"image": "../secret.png", "label": "x.png", "patient": "p", "split": "train"}
    (tmp_path / "dataset.json").write_text(json.dumps({"images": [entry], "labels": {"0": "background"}}))
    with pytest.raises(InputError, match="outside of the folder"):
        read_segmentation(tmp_path)


def test_a_phantom_folder_is_segmentation_data_too(tmp_path: Path) -> None:
    make_dataset(tmp_path / "data", patients=4, slices_per_patient=1, size=64)
    data = read_segmentation(tmp_path / "data", classes=["lung", "heart"])
    assert data.classes == ("background", "lung", "heart")
    assert data.synthetic
    case = data.train[0]
    assert case.group.startswith("PHANTOM")
    assert case.image.meta["unit"] == "HU"
    air = case.image.array[0][case.mask == 1].mean()
    assert air < -600 < case.image.array[0][case.mask == 2].mean()  # lungs are full of air, hearts of blood


def test_npz_with_classes_or_instances(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {"train_images": rng.integers(0, 255, (12, 8, 8)).astype(np.uint8)}
    arrays["train_masks"] = rng.integers(0, 3, (12, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "classes.npz", **arrays)
    data = read_segmentation(tmp_path / "classes.npz")
    assert data.classes == ("background", "class 1", "class 2")
    assert [len(cases) for _, cases in data.splits()] == [7, 2, 3]
    np.savez(tmp_path / "named.npz", class_names=np.array(["none", "liver", "spleen"]), **arrays)
    assert read_segmentation(tmp_path / "named.npz").classes == ("none", "liver", "spleen")
    arrays["train_masks"] = (arrays["train_masks"] * 100).astype(np.uint16)
    np.savez(tmp_path / "instances.npz", **arrays)
    data = read_segmentation(tmp_path / "instances.npz")
    assert data.classes == ("background", "object")
    assert max(case.mask.max() for case in data.train) == 1
    del arrays["train_masks"]
    np.savez(tmp_path / "none.npz", **arrays)
    with pytest.raises(InputError, match=r"train_masks must be whole numbers \(12, 8, 8\) like the images, got none"):
        read_segmentation(tmp_path / "none.npz")


def test_an_unsafe_split_and_strange_labels_are_refused() -> None:
    data = small_masks()
    unsafe = Case("other", data.train[0].group, data.val[0].image, data.val[0].mask)
    with pytest.raises(InputError, match="unsafe split: images of train-0 are in train and in val"):
        SegmentationData("d", data.classes, data.train, (unsafe,), data.test, True, "")
    wild = Case("wild", "w", data.val[0].image, data.val[0].mask * 9)
    with pytest.raises(InputError, match="the mask of wild holds 9, but there are 2 classes"):
        SegmentationData("d", data.classes, data.train, (wild,), data.test, True, "")
    with pytest.raises(InputError, match="must be uint8"):
        Case("c", "c", data.val[0].image, data.val[0].mask[:1])


def test_the_real_sets_are_read() -> None:
    nuclei = read_segmentation(data_path("nuclei_dsb2018") / "nuclei256.npz")
    assert [len(cases) for _, cases in nuclei.splits()] == [234, 50, 50]
    pixels = np.concatenate([case.mask.ravel() for _, cases in nuclei.splits() for case in cases])
    assert round(float(pixels.mean()), 3) == 0.077  # the share that the data's own notes give


@pytest.mark.slow
def test_the_hippocampus_is_read_in_patient_space() -> None:
    data = read_segmentation(data_path("hippocampus"))
    assert [len(cases) for _, cases in data.splits()] == [140, 20, 40]
    assert len(data.classes) == 3
    assert all(case.image.spacing_mm == (1.0, 1.0, 1.0) for case in data.test)


def test_dicom_series_with_segs_are_matched_in_space_and_by_segment_names(tmp_path: Path) -> None:
    """Four oblique series; the SEGs number their segments differently, and one series lies reversed on the disk."""
    expected: dict[str, dict[str, np.ndarray]] = {}
    (tmp_path / "images").mkdir()
    for number, case in enumerate("abcd"):
        slices = series(volume(seed=number), axes=PLANES["oblique"], uid=f"1.2.826.0.{number}", PatientID=f"P{number}")
        folder = write(tmp_path / "images" / case, slices, order=list(range(len(slices)))[:: -1 if number == 1 else 1])
        image = read_image(folder)
        regions = {"Liver": np.zeros(image.shape[1:], bool), "Tumour": np.zeros(image.shape[1:], bool)}
        regions["Liver"][1:4, 2:5, 1:4], regions["Tumour"][4, 1:3, 5:8] = True, True
        names = ["Liver", "Tumour"] if number % 2 else ["Tumour", "Liver"]
        mask = sum((i + 1) * regions[name].astype(np.uint8) for i, name in enumerate(names))
        (tmp_path / "labels").mkdir(exist_ok=True)
        write_mask(
            tmp_path / "labels" / f"{case}.dcm", mask, image, ("background", *names),
            algorithm=Algorithm("test", "1"), source=folder,
        )  # fmt: skip
        expected[case] = regions
    data = read_segmentation(tmp_path)
    assert set(data.classes) == {"background", "Liver", "Tumour"}
    for _, cases in data.splits():
        for case in cases:
            for name, region in expected[case.name].items():
                assert ((case.mask == data.classes.index(name)) == region).all()
            assert case.group.startswith("patient-")
