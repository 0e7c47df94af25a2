"""De-identifying export after DICOM PS3.15, Annex E: a table of attributes, rules that read it, and a study's copy."""

from medapps.deidentify.study import Export, deidentify_study

__all__ = ["Export", "deidentify_study"]
