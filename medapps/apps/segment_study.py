"""Segment one study: `medapps predict` with a segmentation model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medapps import __version__
from medapps.errors import InputError
from medapps.image import Image
from medapps.inference import Card, Classifier, load_model, model_file, prepare_planes, segment_planes, with_context
from medapps.readers import read_image
from medapps.transforms import Compose
from medapps.writers import Algorithm, write_mask

__all__ = ["Segmentation", "segment_image", "segment_study"]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a model found in an image.

    mask: (z, y, x), uint8, an index into `classes`; the first class is the background.
    """

    image: Image
    mask: NDArray[np.uint8]
    classes: tuple[str, ...]

    @property
    def voxels(self) -> dict[str, int]:
        """How many voxels each class but the background has."""
        counts = np.bincount(self.mask.ravel(), minlength=len(self.classes))
        return {name: int(n) for name, n in zip(self.classes[1:], counts[1:], strict=True)}

    @property
    def millilitres(self) -> dict[str, float] | None:
        """Volume of each class; None where the image does not say how large a voxel is."""
        spacing = self.image.spacing_mm
        if spacing is None or spacing[0] is None:
            return None
        voxel = spacing[0] * spacing[1] * spacing[2] / 1000
        return {name: n * voxel for name, n in self.voxels.items()}


def segment_study(
    path: str | Path,
    model: str | Path,
    output: str | Path | None = None,
    *,
    overwrite: bool = False,
    device: str = "cpu",
) -> Segmentation:
    """Segment a DICOM series, a NIfTI volume or a picture.

    path: a file, or the folder of a DICOM series. model: a model.safetensors, or the run folder that holds it.
    output: where to write the mask; the suffix decides how: .nii and .nii.gz, .png (an overlay), .dcm (DICOM SEG,
        for a DICOM series). overwrite: replace it if it is there.
    device: "cpu", "cuda", or "auto", which is "cuda" where it can be used.

    Raises:
        DeviceError: if the device cannot be used.
        InputError: if the model or the study cannot be used. OutputError: if the mask could not be written.
    """
    classifier = load_model(model, device)
    if classifier.card.task != "segment":
        raise InputError(f"{model}: is a model to {classifier.card.task}, not to segment")
    image = read_image(path)
    _check(path, image, classifier.card)
    found = segment_image(image, classifier)
    if output is not None:
        name = f"medapps {classifier.card.architecture['name']}"
        algorithm = Algorithm(name, __version__, hashlib.sha256(model_file(model).read_bytes()).hexdigest())
        write_mask(
            output, found.mask, image, found.classes, algorithm=algorithm, source=Path(path), overwrite=overwrite
        )
    return found


def segment_image(image: Image, classifier: Classifier) -> Segmentation:
    """What the model finds in an image that was read."""
    card = classifier.card
    planes = prepare_planes(Compose.from_list(card.preparation), image)
    least = (card.input_shape[1], card.input_shape[2])
    probabilities = segment_planes(classifier.model, with_context(planes, card.context), least, card.window)
    return Segmentation(image, probabilities.argmax(1).astype(np.uint8), card.classes)


def _check(path: str | Path, image: Image, card: Card) -> None:
    channels = card.input_shape[0]
    if image.shape[0] != channels:
        raise InputError(f"{path}: has {image.shape[0]} channels, but the model was made for {channels}")
    if card.modalities and image.modality and image.modality not in card.modalities:
        wanted = " or ".join(card.modalities)
        raise InputError(f"{path}: is of modality {image.modality}, but the model was made for {wanted}")
