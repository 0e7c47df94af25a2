"""Readers: from files to `Image` and to data sets. What is wrong with a file is said in one sentence."""

from medapps.readers.limits import DEFAULT_LIMITS, Limits
from medapps.readers.read import read_image

__all__ = ["DEFAULT_LIMITS", "Limits", "read_image"]
