"""Readers: from files to `Image` and to data sets. What is wrong with a file is said in one sentence."""

from medapps.readers.data import ClassificationData, Split
from medapps.readers.dataset import read_dataset, read_segmentation
from medapps.readers.limits import DEFAULT_LIMITS, Limits
from medapps.readers.pixels import resize, to_pixels
from medapps.readers.read import decode_image, read_image
from medapps.readers.segmentation import Case, SegmentationData

__all__ = [
    "DEFAULT_LIMITS",
    "Case",
    "ClassificationData",
    "Limits",
    "SegmentationData",
    "Split",
    "decode_image",
    "read_dataset",
    "read_image",
    "read_segmentation",
    "resize",
    "to_pixels",
]
