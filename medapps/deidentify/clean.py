"""One parsed DICOM object, cleaned in place by the rules, nested sequences included, and marked as such."""

from __future__ import annotations

from typing import Any

from medapps.deidentify.rules import Rules
from medapps.deidentify.secret import Secret

__all__ = ["MAYBE_SHOWN", "clean"]

MAYBE_SHOWN = "pixels not checked for burned-in text"
_EDITION = "PS3.15 2025a basic profile"
_DUMMY = {
    "AE": "ANON", "AS": "000Y", "CS": "ANON", "DA": "19000101", "DT": "19000101000000", "TM": "000000", "DS": "0",
    "IS": "0", "UR": "about:blank", "PN": "Anonymous",
}  # fmt: skip
_TEXT = ("LO", "LT", "SH", "ST", "UC", "UT")
_BYTES = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
_OPTIONS = {
    "shift": "RetainLongitudinalTemporalInformationModifiedDatesOption",
    "patient": "RetainPatientCharacteristicsOption",
    "device": "RetainDeviceIdentityOption",
    "institution": "RetainInstitutionIdentityOption",
}


def clean(dataset: Any, rules: Rules, secret: Secret, version: str) -> bool:
    """Clean `dataset` in place: elements by `rules`, file header and preamble made anew, the method recorded.

    Returns:
        True if the patient's identity is gone: PatientIdentityRemoved is YES. False if pixels are in it and the file
        does not itself say that no text is burned into them.
    """
    patient = str(dataset.get("PatientID") or dataset.get("PatientName") or "")
    shown = _has_pixels(dataset) and str(dataset.get("BurnedInAnnotation") or "").strip() != "NO"
    _walk(dataset, rules, secret, patient)
    dataset.PatientName = dataset.PatientID = secret.name(patient)
    _record(dataset, rules, shown, version)
    _new_header(dataset)
    return not shown


def _has_pixels(dataset: Any) -> bool:
    return any(k in dataset for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))


def _walk(dataset: Any, rules: Rules, secret: Secret, patient: str) -> None:
    for tag in list(dataset.keys()):
        element = dataset[tag]
        action = rules.action(int(tag), element.keyword, element.VR)
        if action == "X":
            del dataset[tag]
        elif action == "K":
            if element.VR == "SQ":
                for item in element.value or ():
                    _walk(item, rules, secret, patient)
        else:
            element.value = _replaced(element, action, secret, patient)


def _replaced(element: Any, action: str, secret: Secret, patient: str) -> Any:
    if action == "Z":
        return [] if element.VR == "SQ" else element.empty_value
    if action == "C":
        return element.value if element.VR == "TM" else _each(element.value, lambda v: secret.shifted(v, patient))
    if element.VR == "UI":
        return _each(element.value, secret.uid)
    if element.VR in _TEXT:
        return "Anonymous"
    if element.VR in _BYTES:
        return b"\0\0"
    return _DUMMY.get(element.VR, 0)


def _each(value: Any, change: Any) -> Any:
    if value is None or value == "":
        return value
    many = not isinstance(value, str) and hasattr(value, "__len__")
    return [change(str(v)) for v in value] if many else change(str(value))


def _record(dataset: Any, rules: Rules, shown: bool, version: str) -> None:
    """What was done, in the words of the standard (PS3.3, C.7.1.1 and C.12.1.1)."""
    from pydicom.dataset import Dataset
    from pydicom.sr.codedict import codes

    dataset.PatientIdentityRemoved = "NO" if shown else "YES"
    dataset.DeidentificationMethod = [f"medapps {version}", _EDITION, *([MAYBE_SHOWN] if shown else [])]
    names = ["BasicApplicationConfidentialityProfile"]
    names += [_OPTIONS[option] for option in (rules.dates, *rules.retain) if option in _OPTIONS]
    items = []
    for name in names:
        code, item = getattr(codes.cid7050, name), Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, "DCM", code.meaning
        items.append(item)
    dataset.DeidentificationMethodCodeSequence = items
    dataset.LongitudinalTemporalInformationModified = "MODIFIED" if rules.dates == "shift" else "REMOVED"


def _new_header(dataset: Any) -> None:
    """File meta information and preamble without a trace of the old ones."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import PYDICOM_IMPLEMENTATION_UID

    meta: Any = FileMetaDataset()
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID") or ""
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID") or ""
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    dataset.file_meta, dataset.preamble = meta, bytes(128)
