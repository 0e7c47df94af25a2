"""Phantom: synthetic chest CT with labels, so that everything can be tried, taught and tested without patient data.

The images are drawn by a program from a seed. They look like a chest; they are nobody's.
"""

from medapps.phantom.dataset import make_dataset, make_slice
from medapps.phantom.disease import DISEASES, make_disease_dataset
from medapps.phantom.labels import COLOURS, Label
from medapps.phantom.patient import Patient, draw_patient

__all__ = [
    "COLOURS", "DISEASES", "Label", "Patient", "draw_patient", "make_dataset", "make_disease_dataset", "make_slice",
]  # fmt: skip
