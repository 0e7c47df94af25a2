"""Run: the folder of one training run, and what its files are called."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

import minidl
from medapps import NOTICE, __version__
from medapps.device import device_name
from medapps.errors import InputError
from medapps.files import make_folder, read_json, write_json
from medapps.readers import Case, ClassificationData, SegmentationData, Split, read_dataset, read_segmentation
from medapps.recipe import Recipe
from minidl.device import CPU, Device

__all__ = ["Data", "Run", "read_data"]

Data: TypeAlias = ClassificationData | SegmentationData

_FILES = (
    "recipe.json", "model.safetensors", "checkpoint.safetensors", "history.json", "evaluation.json", "predictions.csv",
    "predictions-images.csv", "cases.csv", "examples.npz", "report.html",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What a run was asked to do: its recipe and its data, as kept in recipe.json."""

    folder: Path
    recipe: Recipe
    data: dict[str, Any]

    @classmethod
    def start(
        cls,
        folder: str | Path,
        recipe: Recipe,
        path: str | Path,
        data: Data,
        *,
        overwrite: bool = False,
        device: Device = CPU,
    ) -> Run:
        """Make the folder and write recipe.json.

        device: where the run computes; noted beside the versions, since a result depends on it in its last digits.
        overwrite: remove the files of an earlier run there first; other files stay.

        Raises:
            InputError: if the folder is not empty and `overwrite` is false.
        """
        place = Path(folder)
        check_free(place, overwrite=overwrite)
        make_folder(place)
        for name in _FILES:
            (place / name).unlink(missing_ok=True)
        run = cls(place, recipe, _about(path, data))
        write_json(
            place / "recipe.json",
            {
                "notice": NOTICE,
                "versions": _versions(),
                "devices": [device_name(device)],
                "recipe": recipe.to_dict(),
                "data": run.data,
            },
        )
        return run

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """The run in a folder.

        Raises:
            InputError: if the folder holds no run.
        """
        place = Path(folder)
        if not (place / "recipe.json").is_file():
            raise InputError(f"{place}: holds no run; give a folder that `medapps train` wrote")
        found = read_json(place / "recipe.json")
        try:
            return cls(place, Recipe.from_dict(found["recipe"]), dict(found["data"]))
        except InputError as error:
            raise InputError(f"{place / 'recipe.json'}: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{place / 'recipe.json'}: is not the recipe of a run") from error

    def note_device(self, device: Device) -> None:
        """Add a device to those in recipe.json, if the run goes on on another than before."""
        file, name = self.folder / "recipe.json", device_name(device)
        held = read_json(file)
        devices = held.get("devices", [str(CPU)])  # the first runs knew no other
        if devices[-1] != name:
            write_json(file, {**held, "devices": [*devices, name]})

    def read_data(self, path: str | Path | None = None) -> Data:
        """The data the run was made with, read again from where it was, or from `path`.

        Raises:
            InputError: if it is no longer the same data.
        """
        place = Path(path) if path is not None else Path(str(self.data.get("path", "")))
        data = read_data(place, self.recipe)
        if data.digest != self.data.get("digest"):
            raise InputError(f"{place}: is not the data that {self.folder} was trained with; give the same data")
        return data


def read_data(path: str | Path, recipe: Recipe) -> Data:
    """The data set at `path`, read as the recipe's task needs it."""
    if recipe.task == "segment":
        return read_segmentation(path, classes=recipe.classes)
    return read_dataset(path, image_size=recipe.image_size)


_WAY_OUT = "add --resume to go on with the run there, or --overwrite to start again"


def check_free(folder: Path, *, overwrite: bool, way_out: str = _WAY_OUT) -> None:
    """Refuse a folder that holds something, unless it may be overwritten."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder for the run")
    if not overwrite and folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: is not empty; {way_out}")


def _versions() -> dict[str, str]:
    return {
        "medapps": __version__,
        "minidl": minidl.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _about(path: str | Path, data: Data) -> dict[str, Any]:
    return {
        "path": str(Path(path).resolve()),
        "name": data.name,
        "digest": data.digest,
        "synthetic": data.synthetic,
        "classes": list(data.classes),
        "image_shape": _image_shape(data),
        "n": {name: len(split) for name, split in data.splits()},
        "groups": {name: len(set(_groups(split))) for name, split in data.splits()},
        "counts": {name: _counts(split, len(data.classes)) for name, split in data.splits()},
    }


def _image_shape(data: Data) -> list[int]:
    """(C, H, W) of pictures of one size, or (C, z, y, x) of the first training case."""
    return list(data.train[0].image.shape if isinstance(data, SegmentationData) else data.train.images.shape[1:])


def _groups(split: Split | tuple[Case, ...]) -> Iterable[str]:
    return split.groups if isinstance(split, Split) else (case.group for case in split)


def _counts(split: Split | tuple[Case, ...], classes: int) -> list[int]:
    """Images of each class, or voxels of each class."""
    labels = [split.labels] if isinstance(split, Split) else [case.mask.ravel() for case in split]
    counts = np.zeros(classes, np.int64)
    for each in labels:
        counts += np.bincount(each, minlength=classes)
    return [int(n) for n in counts]
