"""The phantom: reproducible, varied, valid DICOM, and neither trivial nor impossible to tell apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pydicom
import pytest

from medapps.errors import InputError, OutputError
from medapps.phantom import Label, draw_patient, make_dataset, make_slice
from medapps.readers import read_dataset, read_image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("p") / "set", patients=8, slices_per_patient=2, seed=3, size=128)


def test_the_same_arguments_give_the_same_bytes(folder, tmp_path):
    again = make_dataset(tmp_path / "again", patients=8, slices_per_patient=2, seed=3, size=128)
    names = sorted(p.relative_to(folder) for p in folder.rglob("*.*"))
    assert len(names) == 8 * 2 * 2 + 1
    assert all((folder / n).read_bytes() == (again / n).read_bytes() for n in names)


def test_patients_and_seeds_differ(folder):
    pictures = {(folder / "images" / f"PHANTOM-{p:04d}_1.dcm").read_bytes() for p in range(1, 9)}
    assert len(pictures) == 8


def test_every_slice_is_valid_dicom(folder):
    from pydicom import config

    for path in sorted((folder / "images").iterdir()):
        before = config.settings.reading_validation_mode
        config.settings.reading_validation_mode = config.RAISE
        try:
            ds = pydicom.dcmread(path)  # no force: the file must say that it is DICOM
            assert {e.keyword for e in ds.iterall()} >= {"PatientID", "PixelSpacing", "FrameOfReferenceUID"}
        finally:
            config.settings.reading_validation_mode = before
        assert ds.SOPClassUID == ds.file_meta.MediaStorageSOPClassUID == pydicom.uid.CTImageStorage
        assert ds.RescaleIntercept == -1024
        assert ds.PatientID.startswith("PHANTOM-")
        assert pydicom.uid.UID(ds.SOPInstanceUID).is_valid
        expected = ds.pixel_array.astype(float) - 1024
        np.testing.assert_array_equal(read_image(path).array[0, 0], expected)


def test_highdicom_reads_it(folder):
    highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed")
    path = next((folder / "images").iterdir())
    image = highdicom.imread(path)
    ours = read_image(path)
    np.testing.assert_array_equal(image.get_frame(1), ours.array[0, 0])  # highdicom applies the rescale too
    assert ours.direction == ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def test_the_required_attributes_of_a_ct_image_are_there(folder):
    """Type 1 and 2 attributes of the CT Image IOD's mandatory modules (PS3.3, A.3), by highdicom's tables."""
    highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed")
    tables = Path(highdicom.__file__).parent / "_standard"
    if not tables.is_dir():
        pytest.skip("this highdicom keeps its tables elsewhere")
    modules, attributes = (
        json.loads((tables / f"{name}_map.json").read_text()) for name in ("iod_module", "module_attribute")
    )
    ds = pydicom.dcmread(next((folder / "images").iterdir()))
    needed = {
        attribute["keyword"]
        for module in modules["ct-image"]
        if module["usage"] == "M"
        for attribute in attributes[module["key"]]
        if attribute["type"] in ("1", "2") and not attribute["path"]
    }
    assert len(needed) > 20
    assert needed - set(ds.dir()) == set()


def test_tissues_have_believable_values():
    values = {label: [] for label in Label}
    for i in range(6):
        patient = draw_patient(np.random.default_rng([5, i]))
        hu, truth = make_slice(patient, 0.55, seed=1, size=128)
        assert hu.shape == truth.shape == (128, 128)
        assert (hu.min(), hu.max() <= 3071) == (-1024, True)
        for label in Label:
            values[label] += hu[truth == label].tolist()
    middle = {label: float(np.median(v)) for label, v in values.items()}
    assert -910 < middle[Label.LUNG] < -700
    assert 30 < middle[Label.HEART] < 320
    assert 0 < middle[Label.TUMOUR] < 150
    assert middle[Label.BONE] > 100
    # Tumour and heart overlap: no threshold tells them apart.
    low, high = np.percentile(values[Label.HEART], (10, 90))
    assert np.mean((np.array(values[Label.TUMOUR]) > low) & (np.array(values[Label.TUMOUR]) < high)) > 0.15


def test_label_maps_have_every_tissue_and_the_size_of_the_image(folder):
    description = json.loads((folder / "dataset.json").read_text())
    assert description["synthetic"] is True
    assert description["labels"]["5"] == "tumour"
    seen = set()
    for entry in description["images"]:
        truth = np.asarray(PIL.Image.open(folder / entry["label"]))
        assert truth.shape == read_image(folder / entry["image"]).shape[2:]
        seen |= set(np.unique(truth))
    assert seen == {int(label) for label in Label}


def test_patches_are_split_by_patient_and_centred_on_their_tissue(folder):
    data = read_dataset(folder)
    assert data.synthetic
    assert data.classes == ("tumour", "heart", "vessel", "other")
    assert data.train.images.shape[1:] == (1, 32, 32)
    assert data.train.images.dtype == np.uint8
    assert all(set(split.labels) == {0, 1, 2, 3} for _, split in data.splits())
    assert set(data.train.groups) | set(data.val.groups) | set(data.test.groups) == {
        f"PHANTOM-{p:04d}" for p in range(1, 9)
    }
    for split in (data.train, data.test):
        for image, label, name in list(zip(split.images, split.labels, split.names, strict=True))[::7]:
            file, place = name.split(" ", 1)
            y, x = (int(v) for v in place.strip("()").split(","))
            truth = np.asarray(PIL.Image.open(folder / file.replace("images", "labels").replace(".dcm", ".png")))
            expected = {5: 0, 3: 1, 4: 2}.get(int(truth[y, x]), 3)
            assert label == expected
            assert image[0, 16, 16] == read_image(folder / file).to_uint8()[0, 0, y, x]


def test_patches_do_not_depend_on_anything_but_the_seed(folder):
    one, two, other = (read_dataset(folder, seed=s).train for s in (0, 0, 1))
    np.testing.assert_array_equal(one.images, two.images)
    assert one.names != other.names
    assert read_dataset(folder, image_size=16).train.images.shape[1:] == (1, 16, 16)


def test_the_classes_can_be_learnt_but_not_by_brightness(folder):
    """The centre's grey value alone must not do; a forest on the pixels must beat it clearly."""
    ensemble = pytest.importorskip("sklearn.ensemble", reason="scikit-learn is not installed")
    data = read_dataset(folder)
    test = data.test.labels

    def score(features):
        model = ensemble.RandomForestClassifier(60, random_state=0, n_jobs=1, min_samples_leaf=2)
        model.fit(features(data.train.images), data.train.labels)
        return model.score(features(data.test.images), test)

    grey = score(lambda images: images[:, 0, 15:18, 15:18].mean((1, 2))[:, None])
    pixels = score(lambda images: images[:, 0, ::2, ::2].reshape(len(images), -1))
    assert grey < 0.75
    assert pixels > max(0.5, np.bincount(test).max() / len(test))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"patients": 2}, "got 2, 3 and 256"), ({"slices_per_patient": 0}, "got 40, 0"), ({"size": 32}, "size of 64")],
)
def test_arguments_out_of_range_are_named(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        make_dataset(tmp_path / "x", **arguments)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_unasked(folder, tmp_path):
    with pytest.raises(InputError, match="holds a phantom data set already"):
        make_dataset(folder, patients=3)
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(InputError, match="not empty and not a phantom folder"):
        make_dataset(tmp_path, patients=3, overwrite=True)
    with pytest.raises(InputError, match="is a file"):
        make_dataset(tmp_path / "precious.txt", patients=3)


def test_overwrite_replaces_a_phantom_folder(tmp_path):
    target = make_dataset(tmp_path / "x", patients=3, slices_per_patient=1, size=64)
    seen = []
    make_dataset(target, patients=4, slices_per_patient=1, size=64, overwrite=True, progress=lambda *n: seen.append(n))
    assert len(list((target / "images").iterdir())) == 4
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="could not be written: No space left on device"):
        make_dataset(tmp_path / "x", patients=3, slices_per_patient=1, size=64)
    assert not list(tmp_path.iterdir())


def test_a_broken_phantom_folder_is_named(folder, tmp_path):
    import shutil

    broken = shutil.copytree(folder, tmp_path / "broken")
    label = sorted((broken / "labels").iterdir())[0]
    whole = label.read_bytes()
    label.write_bytes(whole[:80])
    with pytest.raises(InputError, match="label"):
        read_dataset(broken)
    label.unlink()
    with pytest.raises(InputError, match="no such file"):
        read_dataset(broken)
