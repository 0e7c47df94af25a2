"""What a class name is called in SNOMED CT, for DICOM objects. Names not known here are a plain "Tissue"."""

from __future__ import annotations

from typing import Any

__all__ = ["coded"]

_STRUCTURE, _ABNORMAL, _TISSUE = "AnatomicalStructure", "MorphologicallyAbnormalStructure", "Tissue"

# Class name -> (category, type), as pydicom calls the codes of CID 7150 and of SNOMED CT.
_CODES = {
    "aorta": (_STRUCTURE, "Aorta"),
    "bone": (_STRUCTURE, "Bone"),
    "brain": (_STRUCTURE, "Brain"),
    "heart": (_STRUCTURE, "Heart"),
    "hippocampus": (_STRUCTURE, "Hippocampus"),
    "kidney": (_STRUCTURE, "Kidney"),
    "lesion": (_ABNORMAL, "Lesion"),
    "liver": (_STRUCTURE, "Liver"),
    "lung": (_STRUCTURE, "Lung"),
    "muscle": (_STRUCTURE, "Muscle"),
    "neoplasm": (_ABNORMAL, "Neoplasm"),
    "nodule": (_ABNORMAL, "Nodule"),
    "pancreas": (_STRUCTURE, "Pancreas"),
    "prostate": (_STRUCTURE, "Prostate"),
    "skin": (_STRUCTURE, "Skin"),
    "spleen": (_STRUCTURE, "Spleen"),
    "stomach": (_STRUCTURE, "Stomach"),
    "tumor": (_ABNORMAL, "Neoplasm"),
    "tumour": (_ABNORMAL, "Neoplasm"),
    "vessel": (_STRUCTURE, "BloodVessel"),
}


def coded(name: str) -> tuple[Any, Any]:
    """(category, type) of a class as pydicom codes. A class such as "liver left" is found by one of its words.

    >>> [code.meaning for code in coded("left lung")]
    ['Anatomical Structure', 'Lung']
    >>> [code.meaning for code in coded("class 7")]
    ['Tissue', 'Tissue']
    """
    from pydicom.sr.codedict import codes

    words = name.lower().replace("_", " ").split()
    category, kind = next((_CODES[word] for word in words if word in _CODES), (_TISSUE, _TISSUE))
    return getattr(codes.SCT, category), getattr(codes.SCT, kind)
