"""De-identification: every attribute of the table on made objects, nested ones too, and no value left in any byte."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import date, timedelta

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID

from medapps.deidentify import deidentify_study
from medapps.deidentify.clean import MAYBE_SHOWN, clean
from medapps.deidentify.rules import Rules
from medapps.deidentify.secret import Secret
from medapps.deidentify.table import PROFILE, RETAIN, UNSHIFTED
from medapps.errors import InputError
from medapps.readers import list_series, read_series
from medapps.readers.dicom_parse import quiet
from tests.data import data_path
from tests.medapps.series_files import encoded, series, write

ALL = {keyword: code for code, keywords in PROFILE.items() for keyword in keywords}
IN_THE_DATA_SET = [k for k in ALL if tag_for_keyword(k) >> 16 > 4]
KEY = b"0123456789abcdef"
CALM = Secret(KEY)


def value_of(keyword: str) -> object:
    """A value that occurs nowhere else, as the attribute's kind allows."""
    number, vr = list(ALL).index(keyword), dictionary_VR(keyword).split(" or ")[0]
    if vr == "SQ":
        inner = Dataset()
        if keyword in ("ReferencedImageSequence", "SourceImageSequence"):  # kept, for their references
            inner.ReferencedSOPInstanceUID = f"1.2.3.424242.{number}"
            return [inner]
        inner.CodeMeaning, inner.PatientName = f"SECRETMEANING{number}", f"SECRETNAME{number}"
        return [inner]
    kinds = {
        "AE": f"SECRETAE{number}", "AS": "077Y", "AT": 0x00187654, "CS": f"SECRET{number}", "DA": "19870615",
        "DS": f"6543.{number:04d}", "DT": f"19870615{number:06d}.4321", "FD": 7654.5 + number, "FL": 7654.5 + number,
        "IS": 7_000_000 + number, "PN": f"SECRET^{number}", "SL": 7_654_000 + number, "SS": 20_000 + number,
        "SV": 7_654_321_000 + number, "TM": f"231759.{number:06d}", "UI": f"1.2.3.424242.{number}",
        "UL": 7_654_000 + number, "UR": f"http://secret/{number}", "US": 50_000 + number, "UV": 7_654_321_000 + number,
    }  # fmt: skip
    if vr in ("OB", "OD", "OF", "OL", "OW", "OV", "UN"):
        return f"SECRETBYTES{number:04d} ".encode()
    return kinds.get(vr, f"SECRETTEXT{number}")


def filled(ds: Dataset, keywords: list[str]) -> Dataset:
    for keyword in keywords:
        setattr(ds, keyword, value_of(keyword))
    return ds


def full_object() -> Dataset:
    """An image with every attribute of the table, at the top, one level down and two levels down."""
    ds = filled(series()[0], IN_THE_DATA_SET)
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    deepest, inner = filled(Dataset(), IN_THE_DATA_SET), filled(Dataset(), IN_THE_DATA_SET)
    inner.PlanePositionSequence = [deepest]
    ds.SharedFunctionalGroupsSequence = [inner]
    ds.file_meta.PrivateInformation, ds.file_meta.PrivateInformationCreatorUID = b"SECRETBYTES1", "1.2.3.424242.9"
    ds.file_meta.SourceApplicationEntityTitle = "SECRETAE"
    ds.preamble = b"MZ SECRET PREAMBLE".ljust(128, b"\x01")
    return ds


PLAIN = Rules()


def run(ds: Dataset, rules: Rules = PLAIN) -> Dataset:
    """Cleaned, written and read again."""
    with quiet():
        clean(ds, rules, CALM, "1")
        return pydicom.dcmread(io.BytesIO(encoded(ds)))


@pytest.fixture(scope="module")
def cleaned() -> Dataset:
    with quiet():
        return run(pydicom.dcmread(io.BytesIO(encoded(full_object()))))


def levels(ds: Dataset) -> list[Dataset]:
    inner = ds.SharedFunctionalGroupsSequence[0]
    return [ds, inner, inner.PlanePositionSequence[0]]


@pytest.mark.parametrize("keyword", IN_THE_DATA_SET)
def test_each_attribute_gets_its_action_at_every_depth(cleaned, keyword):
    code, before = ALL[keyword].rstrip("*").split("/")[-1], value_of(keyword)
    for depth, ds in enumerate(levels(cleaned)):
        if keyword == "SOPClassUID":
            continue
        if code == "X":
            assert keyword not in ds
            continue
        assert keyword in ds
        now = ds[keyword].value
        if keyword in ("PatientName", "PatientID") and depth == 0:
            assert re.fullmatch(r"ANON-[0-9A-F]{12}", str(now))
        elif ds[keyword].VR == "SQ":
            assert "SECRET" not in str(now)
            assert len(now) == (1 if code == "U" else 0)
        elif code == "Z":
            assert not now
        elif code == "U":
            assert now == CALM.uid(str(before))
            assert UID(now).is_valid
        else:
            assert code == "D"
            assert now not in (None, "", before)


@pytest.mark.parametrize("dates", ["remove", "shift"])
def test_no_original_value_is_left_in_any_byte(dates):
    with quiet():
        ds = pydicom.dcmread(io.BytesIO(encoded(full_object())))
        before = encoded(ds)
        assert before.count(b"SECRET") > 1000  # the check below would find something
        clean(ds, Rules(dates), CALM, "1")
        after = encoded(ds)
    for part in (b"SECRET", b"secret", b"1.2.3.424242", b"19870615"):
        assert part in before
        assert part not in after
    for keyword in IN_THE_DATA_SET:
        for text in re.findall(r"\d{5,}\.?\d*", str(value_of(keyword))):
            times = dates == "shift" and dictionary_VR(keyword) in ("TM", "DT")
            assert times or text.encode() not in after.replace(ds.PixelData, b""), keyword
    assert after[:128] == bytes(128)


def test_what_no_table_lists_is_handled_by_its_kind():
    ds = series()[0]
    nested = Dataset()
    nested.add_new(0x00091001, "LO", "SECRET private")
    nested.add_new(0x00090010, "LO", "SECRET CREATOR")
    nested.add_new(0x00087777, "LO", "SECRET unknown")
    ds.PlanePositionSequence = [nested]
    ds.add_new(0x00110010, "LO", "SECRET CREATOR")
    ds.add_new(0x00111001, "UN", b"SECRET private")
    ds.add_new(0x50000022, "LO", "SECRET curve")
    ds.add_new(0x60000022, "LO", "SECRET overlay")
    ds.add_new(0x60003000, "OW", b"SECRET bits ")
    ds.add_new(0x60024000, "LT", "SECRET comment")
    ds.StudyUpdateDateTime, ds.SecondaryReviewerName = "19870615101112", "SECRET^Reviewer"  # no table lists them
    ds.DataSetTrailingPadding = b"SECRET"
    after = run(ds)
    assert b"SECRET" not in encoded(after)
    assert after.StudyUpdateDateTime == ""
    assert "SecondaryReviewerName" not in after
    assert Rules().action(0x00280010, "Rows", "UN") == "X"
    assert (after.Rows, after.Columns, after.Modality) == (7, 9, "CT")


def test_the_profile_is_complete_as_the_standard_counts_it():
    """Table E.1-1 has 621 rows; four of them are groups of tags."""
    assert len(ALL) == 617
    assert sum(len(v) for v in PROFILE.values()) == 617
    spot = {
        "AccessionNumber": "Z",
        "PatientID": "Z/D",
        "StudyDescription": "X",
        "SOPInstanceUID": "U",
        "StudyDate": "Z",
    }
    assert all(ALL[k] == code for k, code in spot.items())
    assert all(tag_for_keyword(k) for keys in RETAIN.values() for k in keys)


def test_uids_stay_consistent_and_standard_ones_stay():
    ds, other = series()[:2]
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = other.SOPClassUID, other.SOPInstanceUID
    ds.ReferencedImageSequence = [reference]
    a, b = run(ds), run(other)
    assert a.ReferencedImageSequence[0].ReferencedSOPInstanceUID == b.SOPInstanceUID
    assert a.ReferencedImageSequence[0].ReferencedSOPClassUID == other.SOPClassUID
    assert a.SeriesInstanceUID == b.SeriesInstanceUID != a.StudyInstanceUID
    assert a.file_meta.MediaStorageSOPInstanceUID == a.SOPInstanceUID
    assert a.PatientID == b.PatientID


def test_shifted_dates_keep_their_distances():
    ds = series()[0]
    ds.AcquisitionDateTime, ds.SeriesDate = "20210301235959.5+0100", "20201231"
    with quiet(), pydicom.config.disable_value_validation():
        ds.ContentDate = "2021"
    after = run(ds, Rules("shift"))
    moved = date.fromisoformat(after.StudyDate) - date(2021, 3, 4)
    assert timedelta(days=-3650) <= moved <= timedelta(days=-1)
    assert date.fromisoformat(after.SeriesDate) - date(2020, 12, 31) == moved
    assert after.AcquisitionDateTime == f"{date(2021, 3, 1) + moved:%Y%m%d}235959.5+0100"
    assert after.StudyTime == "101112"
    assert after.ContentDate == ""  # no day in it to shift
    assert after.PatientBirthDate == ""
    assert after.LongitudinalTemporalInformationModified == "MODIFIED"
    assert run(series()[0]).LongitudinalTemporalInformationModified == "REMOVED"
    assert set(UNSHIFTED) < set(ALL)


@pytest.mark.parametrize(
    ("said", "pixels", "gone"), [("NO", True, "YES"), ("YES", True, "NO"), (None, True, "NO"), (None, False, "YES")]
)
def test_identity_is_said_to_be_removed_only_where_no_text_is_burned_in(said, pixels, gone):
    ds = series()[0]
    if said:
        ds.BurnedInAnnotation = said
    if not pixels:
        del ds.PixelData
    after = run(ds)
    assert after.PatientIdentityRemoved == gone
    assert (MAYBE_SHOWN in after.DeidentificationMethod) == (gone == "NO")
    assert after.DeidentificationMethodCodeSequence[0].CodeValue == "113100"


def test_options_keep_what_they_name():
    ds = series()[0]
    ds.PatientSize, ds.StationName, ds.InstitutionName = "1.7", "CT7", "Hospital"
    after = run(ds, Rules(retain=("patient", "device")))
    assert (after.PatientSex, float(after.PatientSize), after.StationName) == ("F", 1.7, "CT7")
    assert "Hospital" not in str(after)
    codes = [item.CodeValue for item in after.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113108", "113109"]


# Studies ----------------------------------------------------------------------------------------------------------


def test_a_study_is_copied_whole_and_reads_as_before(tmp_path):
    folder = write(tmp_path / "Person, Secret", series(), order=[3, 0, 5, 1, 4, 2])
    (folder / "notes.txt").write_text("Secret Person")
    made = deidentify_study(folder, tmp_path / "out")
    assert (made.files, made.series, made.unchecked) == (6, 1, 6)
    assert [name for name, _ in made.skipped] == ["notes.txt"]
    assert sorted(p.name for p in made.folder.rglob("*.dcm")) == [f"{i:05d}.dcm" for i in range(1, 7)]
    before, after = read_series(folder), read_series(made.folder)
    np.testing.assert_array_equal(before.array, after.array)
    assert (before.origin_mm, before.spacing_mm, before.direction) == (
        after.origin_mm,
        after.spacing_mm,
        after.direction,
    )
    for path in made.folder.rglob("*.dcm"):
        assert b"ecret" not in path.read_bytes()
        assert b"SECRET" not in path.read_bytes()


def test_keys_decide_the_replacements(tmp_path):
    folder = write(tmp_path / "s", series())
    uids = [
        list_series(deidentify_study(folder, tmp_path / f"out{i}", key=key).folder)[0].uid
        for i, key in enumerate((KEY, KEY, None, None))
    ]
    assert uids[0] == uids[1]
    assert len(set(uids)) == 3
    with pytest.raises(InputError, match="at least 16"):
        deidentify_study(folder, tmp_path / "short", key=b"short")


def test_a_file_that_cannot_be_understood_is_not_copied(tmp_path):
    folder = write(tmp_path / "s", series())
    victim = sorted(folder.iterdir())[2]
    victim.write_bytes(victim.read_bytes()[:200] + b"\xff" * 64)
    made = deidentify_study(folder, tmp_path / "out")
    assert made.files == 5
    assert made.skipped[0][0] == victim.name


def test_zips_are_read_and_outputs_are_guarded(tmp_path):
    folder = write(tmp_path / "s", series())
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    assert deidentify_study(tmp_path / "s.zip", tmp_path / "out").files == 6
    with pytest.raises(InputError, match="is there already"):
        deidentify_study(folder, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no DICOM file that could be copied"):
        deidentify_study(tmp_path / "empty", tmp_path / "nothing")
    assert not list(tmp_path.glob("nothing*"))
    with pytest.raises(InputError, match="dates must be remove or shift"):
        deidentify_study(folder, tmp_path / "other", dates="keep")
    with pytest.raises(InputError, match="retain knows patient, device, institution, not 'all'"):
        deidentify_study(folder, tmp_path / "other", retain=["all"])


def test_every_real_file_is_copied_and_decodes_to_the_same_pixels(tmp_path):
    root = data_path("dicom")
    made = deidentify_study(root, tmp_path / "out", key=KEY)
    originals = list(root.rglob("*.dcm"))
    assert made.files == len(originals)
    assert [name for name, _ in made.skipped] == ["mr_transfer_syntaxes/reference.npz"]
    copies = {}
    with quiet():
        for path in made.folder.rglob("*.dcm"):
            ds = pydicom.dcmread(path)
            copies.setdefault(ds.SOPInstanceUID, []).append(ds.PixelData)
        for path in originals:
            ds = pydicom.dcmread(path)
            assert ds.PixelData in copies[Secret(KEY).uid(ds.SOPInstanceUID)], path.name
