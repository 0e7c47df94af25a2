"""Readers: from files to `Image` and to data sets. What is wrong with a file is said in one sentence."""

from medapps.readers.data import ClassificationData, Split
from medapps.readers.dataset import read_dataset, read_segmentation
from medapps.readers.limits import DEFAULT_LIMITS, Limits
from medapps.readers.nifti import read_nifti
from medapps.readers.pixels import resize, to_pixels
from medapps.readers.read import decode_image, read_image
from medapps.readers.segmentation import Case, SegmentationData
from medapps.readers.series import SeriesInfo, list_series, read_series

__all__ = [
    "DEFAULT_LIMITS",
    "Case",
    "ClassificationData",
    "Limits",
    "SegmentationData",
    "SeriesInfo",
    "Split",
    "decode_image",
    "list_series",
    "read_dataset",
    "read_image",
    "read_nifti",
    "read_segmentation",
    "read_series",
    "resize",
    "to_pixels",
]
