"""Train a network that says what each pixel belongs to: `medapps train segment`. For research, not for diagnosis."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from medapps.apps.training import train
from medapps.errors import InputError
from medapps.fit import History, Progress
from medapps.recipe import Recipe

__all__ = ["NETS", "train_segmenter"]

_COMMON = Recipe(
    task="segment",
    name="segment",
    prepare=({"name": "normalise"},),
    augment=(
        {"name": "rotate", "degrees": 15.0, "zoom": 0.15},
        {"name": "gamma", "strength": 0.3},
        {"name": "contrast", "strength": 0.3},
        {"name": "brightness", "strength": 0.3},
    ),
    patch_size=128,
    foreground=0.5,
    samples=256,
    context=1,
    balance="none",
    batch_size=8,
    epochs=20,
    patience=20,
    average=0.98,
    dropout=0.0,
    weight_decay=0.01,
    select="val_dice",
)
# The recipes by the name of their network.
NETS = {
    "reseg": replace(
        _COMMON, model="reseg", widths=(32, 32), options={"patches": [2, 2], "stem": 16, "cell": "gru"}, lr=3e-3
    ),
    "unet": replace(_COMMON, model="unet", widths=(12, 24, 48, 96), lr=3e-3),
}


def train_segmenter(
    data_path: str | Path,
    run: str | Path | None = None,
    *,
    net: str = "reseg",
    recipe: Recipe | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "cpu",
    progress: Progress | None = None,
    **overrides: Any,
) -> History:
    """Train a segmentation and keep the epoch that the validation split likes best.

    data_path: an .npz with images and label maps, a folder of pairs (PNG, DICOM, NIfTI), or a phantom folder.
    run: the folder to write into; `default_run` when None.
    net: "reseg", sweeps of recurrent nets, or "unet", convolutions alone; not used when a recipe is given.
    recipe: what to do; that of the net when None. overrides: fields of the recipe to change, such as epochs=5.
    resume: go on with a run that was stopped, with the recipe it was started with.
    overwrite: start again in a folder that holds a run.
    device: "cpu", "cuda", or "auto", which is "cuda" where it can be used.

    Raises:
        InputError: one sentence about data, recipe or folder. OutputError: if something could not be written.
        DeviceError: if the device cannot be used.
    """
    if net not in NETS:
        raise InputError(f"segment: no network is called {net!r}; known are {', '.join(NETS)}")
    return train(
        data_path,
        run,
        recipe or NETS[net],
        overrides,
        given=recipe is not None,
        resume=resume,
        overwrite=overwrite,
        device=device,
        progress=progress,
    )
