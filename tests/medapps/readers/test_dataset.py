"""read_dataset: every kind of source, safe splits, and one clear sentence for what cannot be used."""

from __future__ import annotations

import contextlib
import hashlib
import io
import zipfile
from collections import Counter

import numpy as np
import PIL.Image
import pytest

from medapps.errors import InputError
from medapps.readers import Limits, read_dataset
from medapps.readers.npz import load_arrays
from medapps.readers.splitting import hold_out, merge_groups
from tests.data import data_path
from tests.medapps.readers.dicom_files import dicom

RNG = np.random.default_rng(7)


def picture(value: int | None = None, size: tuple[int, int] = (6, 5)) -> bytes:
    pixels = RNG.integers(0, 255, size, np.uint8) if value is None else np.full(size, value, np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def folder(root, files: dict[str, bytes]):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def zipped(path, files: dict[str, bytes]):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def two_classes(n: int = 8, prefix: str = "") -> dict[str, bytes]:
    return {f"{prefix}{c}/{i}.png": picture() for c in ("cat", "dog") for i in range(n)}


def arrays(n: int = 6, **changes):
    made = {}
    for split in ("train", "val", "test"):
        made[f"{split}_images"] = RNG.integers(0, 255, (n, 4, 4), np.uint8)
        made[f"{split}_labels"] = (np.arange(n) % 2).astype(np.uint8)[:, None]
    return {k: v for k, v in (made | changes).items() if v is not None}


def npz(tmp_path, **changes):
    path = tmp_path / "set.npz"
    np.savez_compressed(path, **arrays(**changes))
    return path


# MedMNIST's layout -----------------------------------------------------------------------------------------------


def test_pneumoniamnist_has_the_published_counts():
    path = data_path("medmnist/pneumoniamnist.npz")
    data = read_dataset(path)
    assert data.classes == ("normal", "pneumonia")
    assert [len(split) for _, split in data.splits()] == [4708, 524, 624]
    assert np.bincount(data.test.labels).tolist() == [234, 390]
    with np.load(path) as raw:
        np.testing.assert_array_equal(data.train.images[:, 0], raw["train_images"])
    assert data.train.images.dtype == np.uint8
    assert data.train.labels.dtype == np.int64
    assert data.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not data.synthetic


def test_class_names_and_image_names_are_used_where_given():
    data = read_dataset(data_path("mednist/mednist64.npz"))
    assert data.classes == ("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT")
    assert "train/" in data.train.names[0]


def test_missing_splits_are_held_out_of_train(tmp_path):
    data = read_dataset(npz(tmp_path, n=40, val_images=None, val_labels=None, test_images=None, test_labels=None))
    assert len(data.train) + len(data.val) + len(data.test) == 40
    assert all(set(split.labels) == {0, 1} for _, split in data.splits())


def test_colour_goes_to_channels_first(tmp_path):
    images = RNG.integers(0, 255, (6, 4, 5, 3), np.uint8)
    data = read_dataset(npz(tmp_path, train_images=images))
    np.testing.assert_array_equal(data.train.images, images.transpose(0, 3, 1, 2))


def test_image_size_resizes(tmp_path):
    assert read_dataset(npz(tmp_path), image_size=8).val.images.shape == (6, 1, 8, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": None}, "train_images is needed"),
        ({"val_labels": None}, "val_labels is missing"),
        ({"test_labels": np.full((6, 1), 5)}, "labels out of range in the test split: 5 to 5.*2 classes"),
        ({"test_labels": np.full((6, 1), -1)}, "labels out of range"),
        ({"train_labels": np.array([0, 0, 0, 2, 2, 2])}, "empty class: 'class 1' has no training image"),
        ({"train_labels": np.zeros((6, 14), np.uint8)}, "14 labels per image"),
        ({"train_labels": np.zeros(5, np.uint8)}, "5 labels for 6 images"),
        ({"train_labels": np.full(6, 0.5)}, "whole numbers"),
        ({"train_labels": np.zeros(6, np.uint8)}, "at least two classes"),
        ({"train_images": np.zeros((6, 4, 4, 4, 4), np.uint8)}, r"must be \(N, H, W\)"),
        ({"train_images": np.zeros((6, 4, 4), "U3")}, "must hold numbers"),
        ({"train_images": np.array([{}] * 6, object)}, r"Python objects \(pickle\)"),
    ],
)
def test_bad_npz_is_named(tmp_path, changes, message):
    path = npz(tmp_path, **changes)
    with pytest.raises(InputError, match=message) as raised:
        read_dataset(path)
    assert str(path) in str(raised.value) or "set:" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_truncated_npz_is_named(tmp_path):
    path = npz(tmp_path)
    whole = path.read_bytes()
    for keep in (3, 50, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:keep])
        with pytest.raises(InputError, match="truncated or damaged"):
            read_dataset(path)


def test_damaged_npz_is_named(tmp_path):
    path = npz(tmp_path)
    raw = bytearray(path.read_bytes())
    for at in range(40, len(raw) // 2, 97):
        damaged = bytearray(raw)
        damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        with contextlib.suppress(InputError):  # a flipped byte may also go unnoticed; nothing else may come out
            read_dataset(path)


def test_an_array_that_claims_gigabytes_is_not_read(tmp_path):
    path = tmp_path / "bomb.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40,)})
    zipped(path, {"train_images.npy": header.getvalue() + bytes(100)})
    with pytest.raises(InputError, match="train_images claims 1048576 MiB"):
        load_arrays(path)
    with pytest.raises(InputError, match="more than the 0 MiB left"):
        load_arrays(npz(tmp_path), Limits(dataset_bytes=10))


# Class folders ---------------------------------------------------------------------------------------------------


def test_class_folders_are_split_by_person_and_keep_copies_together(tmp_path):
    files = {f"{c}/person{p}_{c}_{i}.png": picture() for c in ("cat", "dog") for p in range(12) for i in range(3)}
    files["dog/copy.png"] = files["dog/person3_dog_1.png"]
    data = read_dataset(folder(tmp_path / "pets", files))
    assert data.classes == ("cat", "dog")
    groups = [set(split.groups) for _, split in data.splits()]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert sum(len(split) for _, split in data.splits()) == 73
    where = {n: title for title, split in data.splits() for n in split.names}
    assert where["dog/copy.png"] == where["dog/person3_dog_0.png"]
    assert all(where[f"cat/person5_cat_{i}.png"] == where["dog/person5_dog_0.png"] for i in range(3))


def test_the_split_depends_on_the_seed_only(tmp_path):
    root = folder(tmp_path / "pets", two_classes(20))
    first, again, other = (read_dataset(root, seed=s).test.names for s in (1, 1, 2))
    assert first == again != other


def test_splits_given_by_folders_are_kept(tmp_path):
    files = {}
    for split in ("train", "val", "test"):
        files |= two_classes(4, f"{split}/")
    data = read_dataset(folder(tmp_path / "pets", files))
    assert all(name.startswith(title + "/") for title, split in data.splits() for name in split.names)


def test_a_zip_reads_like_its_folder_and_writes_nothing(tmp_path):
    files = two_classes(10, "pets/")
    unpacked = read_dataset(folder(tmp_path / "a", files))
    path = zipped(tmp_path / "b.zip", files)
    before = sorted(tmp_path.rglob("*"))
    from_zip = read_dataset(path)
    assert sorted(tmp_path.rglob("*")) == before
    assert from_zip.digest == unpacked.digest
    np.testing.assert_array_equal(from_zip.train.images, unpacked.train.images)


def test_a_folder_of_split_zips(tmp_path):
    zipped(tmp_path / "train.zip", two_classes(8, "train/"))
    zipped(tmp_path / "test.zip", two_classes(3, "test/"))
    (tmp_path / "README.md").write_text("words")
    data = read_dataset(tmp_path)
    assert (len(data.test), len(data.train) + len(data.val)) == (6, 16)


def test_subfolders_are_patients(tmp_path):
    files = {f"{c}/p{p}/{i}.png": picture() for c in ("cat", "dog") for p in range(8) for i in range(2)}
    data = read_dataset(folder(tmp_path / "pets", files))
    assert set(Counter(data.train.groups).values()) <= {2, 4}
    assert set(data.train.groups) <= {f"p{p}" for p in range(8)}


def test_dicom_is_grouped_by_patient_and_shown_by_its_window(tmp_path):
    pixels = (np.arange(48).reshape(6, 8) * 40).astype(np.uint16)
    files = {
        f"{c}/{p}_{i}.dcm": dicom(pixels + 100 * i + p, PatientID=f"{c}{p}", WindowCenter="1000", WindowWidth="2000")
        for c in ("cat", "dog")
        for p in range(6)
        for i in range(2)
    }
    data = read_dataset(folder(tmp_path / "ct", files))
    assert len({*data.train.groups, *data.val.groups, *data.test.groups}) == 12
    assert all(group.startswith("patient-") for group in data.train.groups)
    assert data.train.images.dtype == np.uint8


def test_a_patient_in_two_splits_is_refused(tmp_path):
    pixels = np.zeros((4, 4), np.uint16)
    files = {
        f"{s}/{c}/{i}.dcm": dicom(pixels, PatientID=f"{c}{i}") for s in ("train", "test") for c in "ab" for i in "123"
    }
    with pytest.raises(InputError, match=r"unsafe split: images of patient-\w+ are in \w+ and in test"):
        read_dataset(folder(tmp_path / "ct", files))


def test_grey_and_colour_are_joined_as_colour(tmp_path):
    files = two_classes(6)
    buffer = io.BytesIO()
    PIL.Image.fromarray(RNG.integers(0, 255, (6, 5, 3), np.uint8)).save(buffer, "PNG")
    files["cat/colour.png"] = buffer.getvalue()
    assert read_dataset(folder(tmp_path / "pets", files)).train.images.shape[1] == 3


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"readme.txt": b"x"}, "no PNG, JPEG or DICOM image"),
        ({"cat/a.png": picture(), "cat/b.png": picture()}, "only one class folder"),
        (two_classes(3) | {"dog/big.png": picture(size=(9, 9))}, "several sizes: 6 x 5 .* and 9 x 9"),
        (two_classes(3) | {"dog/broken.png": picture()[:60]}, "dog/broken.png: .*damaged"),
        (two_classes(3) | {"dog/x.tif": b"II*\0"}, "is a .tif file"),
        (two_classes(3, "train/") | {"train/lost.png": picture()}, "lies outside of the class folders"),
        ({"cat/a.png": picture(1), "dog/a.png": picture(2), "dog/b.png": picture(3)}, "images of one patient only"),
        (two_classes(3, "test/") | two_classes(3, "val/"), "has no train folder"),
    ],
)
def test_bad_folders_are_named(tmp_path, files, message):
    with pytest.raises(InputError, match=message):
        read_dataset(folder(tmp_path / "set", files))


def test_an_empty_class_folder_is_named(tmp_path):
    root = folder(tmp_path / "set", two_classes(3))
    (root / "cow").mkdir()
    with pytest.raises(InputError, match="empty class: the folder 'cow' has no image"):
        read_dataset(root)


def test_images_of_several_sizes_are_resized_on_request(tmp_path):
    files = two_classes(8) | {"dog/big.png": picture(size=(9, 9))}
    assert read_dataset(folder(tmp_path / "set", files), image_size=(4, 3)).train.images.shape[1:] == (1, 4, 3)


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "C:/evil.png", "..\\evil.png"])
def test_zip_names_that_point_outside_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="points outside"):
        read_dataset(zipped(tmp_path / "set.zip", two_classes(3) | {name: picture()}))


def test_zips_are_bounded(tmp_path):
    path = zipped(tmp_path / "set.zip", two_classes(3) | {"cat/zeros.png": bytes(5 << 20)})
    with pytest.raises(InputError, match="more than allowed"):
        read_dataset(path, limits=Limits(dataset_bytes=1 << 20))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="truncated or damaged zip"):
        read_dataset(path)


def test_other_sources_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        read_dataset(tmp_path / "no.npz")
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(InputError, match="not a data set"):
        read_dataset(tmp_path / "a.csv")
    with pytest.raises(InputError, match="image_size must be 1 to 4096"):
        read_dataset(tmp_path, image_size=0)


def test_chest_xrays_are_grouped_by_child():
    data = read_dataset(data_path("chest_xray/test.zip").parent, image_size=16)
    assert data.classes == ("bacteria", "normal", "virus")
    assert np.bincount(data.test.labels).tolist() == [242, 234, 148]
    assert len(data.train) + len(data.val) == 5216
    assert data.train.images.shape[1] == 1
    assert not set(data.train.groups) & set(data.val.groups)
    assert "train/person1000" in {*data.train.groups, *data.val.groups}


# The rules of splitting ------------------------------------------------------------------------------------------


def test_hold_out_keeps_shares_and_groups():
    groups = [f"p{i // 3}" for i in range(300)]
    labels = (np.arange(300) // 3 % 4 == 0).astype(np.int64)
    mask = hold_out(groups, labels, 0.2, seed=3, name="x")
    by_group = {g: {bool(m) for m, h in zip(mask, groups, strict=True) if h == g} for g in set(groups)}
    assert all(len(sides) == 1 for sides in by_group.values())
    assert mask[labels == 1].mean() == pytest.approx(0.2, abs=0.03)
    assert mask[labels == 0].mean() == pytest.approx(0.2, abs=0.03)


def test_merge_groups_is_transitive():
    assert merge_groups(["a", "b", "b", "c", "d"], ["1", "1", "2", "2", "3"]) == ("a", "a", "a", "a", "d")


def test_groups_of_an_npz_keep_a_patients_images_together(tmp_path):
    whose = np.array(["anna", "anna", "ben", "ben", "cleo", "cleo"])
    given = {f"{s}_groups": np.char.add(whose, s) for s in ("train", "val", "test")}
    data = read_dataset(npz(tmp_path, **given))
    assert data.train.groups[:3] == ("group annatrain", "group annatrain", "group bentrain")
    only_train = {k: None for s in ("val", "test") for k in (f"{s}_images", f"{s}_labels")}
    held_out = read_dataset(npz(tmp_path, n=40, train_groups=np.arange(40) // 4, **only_train))
    groups = [set(split.groups) for _, split in held_out.splits()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 10


def test_groups_of_an_npz_that_do_not_fit_are_refused(tmp_path):
    whose = np.arange(6)
    with pytest.raises(InputError, match="val_groups is missing; give groups for every split or for none"):
        read_dataset(npz(tmp_path, train_groups=whose))
    same = {f"{s}_groups": whose for s in ("train", "val", "test")}
    with pytest.raises(InputError, match="unsafe split: images of group 0 are in train and in val"):
        read_dataset(npz(tmp_path, **same))
    with pytest.raises(InputError, match="train_groups must hold 6 texts or whole numbers"):
        read_dataset(npz(tmp_path, **{**same, "train_groups": whose / 2}))


def test_what_lies_deeper_than_the_patients_folder_is_still_the_patients(tmp_path):
    files = {
        f"{c}/{c}{p}/study{s}/{i}.png": picture() for c in ("cat", "dog") for p in "abcd" for s in "12" for i in "34"
    }
    data = read_dataset(folder(tmp_path, files))
    assert {group for _, split in data.splits() for group in split.groups} == {
        c + p for c in ("cat", "dog") for p in "abcd"
    }


def test_the_patient_of_a_dicom_file_counts_more_than_its_folder(tmp_path):
    files = {
        f"{c}/series{p}{s}/1.dcm": dicom(RNG.integers(0, 255, (4, 4), np.uint8), PatientID=f"{c}{p}")
        for c in ("cat", "dog") for p in "abcd" for s in "12"
    }  # fmt: skip
    data = read_dataset(folder(tmp_path, files))
    groups = [set(split.groups) for _, split in data.splits()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 8


def test_a_folder_of_synthetic_images_says_so(tmp_path):
    assert not read_dataset(folder(tmp_path, two_classes())).synthetic
    (tmp_path / "dataset.json").write_text('{"synthetic": true}')
    assert read_dataset(tmp_path).synthetic
