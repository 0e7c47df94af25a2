"""Transforms: preparation (the same for every image, fitted on the training split) and augmentation (random, but a
function of seed, epoch and image alone). One transform, one file; recipes hold them as plain data."""

from medapps.transforms.brightness import Brightness
from medapps.transforms.clean import Clean, CleanReport, clean
from medapps.transforms.compose import Compose, augmentations, augmented, augmented_pairs, draws, preparations
from medapps.transforms.contrast import Contrast
from medapps.transforms.crop import Crop
from medapps.transforms.denoise import MedianDenoise
from medapps.transforms.flip import Flip
from medapps.transforms.gamma import Gamma
from medapps.transforms.grey import Grey, GreyMap
from medapps.transforms.normalise import Normalise
from medapps.transforms.registry import (
    Augmentation,
    Params,
    Preparation,
    Transform,
    register,
    transform_from_dict,
    transform_names,
)
from medapps.transforms.rotate import Rotate
from medapps.transforms.standardise import Standardise

__all__ = [
    "Augmentation",
    "Brightness",
    "Clean",
    "CleanReport",
    "Compose",
    "Contrast",
    "Crop",
    "Flip",
    "Gamma",
    "Grey",
    "GreyMap",
    "MedianDenoise",
    "Normalise",
    "Params",
    "Preparation",
    "Rotate",
    "Standardise",
    "Transform",
    "augmentations",
    "augmented",
    "augmented_pairs",
    "clean",
    "draws",
    "preparations",
    "register",
    "transform_from_dict",
    "transform_names",
]
