"""inspect: what a file or folder holds, as names and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medapps.apps.run import Run
from medapps.apps.tables import columns
from medapps.errors import ImageError, InputError
from medapps.files import read_json
from medapps.inference import load_model
from medapps.readers import ClassificationData, SeriesInfo, list_series, read_dataset, read_image, read_nifti
from medapps.readers.seg import list_segments
from medapps.readers.stack import orientation

__all__ = ["inspect"]


def inspect(path: str | Path) -> dict[str, str]:
    """Facts about an image, a study, a segmentation, a data set, a model file or a run folder.

    A folder or zip with DICOM files is a study, a row for each series, unless it has train, val or test folders or is a
    phantom folder; these are data sets.

    Raises:
        InputError: one sentence if it is none of these.
    """
    place = Path(path)
    if not place.exists():
        raise InputError(f"{place}: there is no such file or folder")
    if place.is_dir():
        return _run(place) if (place / "recipe.json").is_file() else _study(place) or _dataset(place)
    if place.suffix == ".safetensors":
        return _model(place)
    if place.suffix.lower() in (".npz", ".zip"):
        return (_study(place) if place.suffix.lower() == ".zip" else None) or _dataset(place)
    return _segmentation(place) or _image(place)


def _study(path: Path) -> dict[str, str] | None:
    """A row for each series, then what is wrong with it; None for what is no study."""
    if path.is_dir() and any((path / name).exists() for name in ("dataset.json", "train", "test", "train.zip")):
        return None
    try:
        found = list_series(path)
    except ImageError:
        return None
    head = ["kind", "slices", "size", "spacing mm", "plane", "verdict"]
    table = columns([head, *(_series(info) for info in found)]).splitlines()
    names = ["series", *(str(info.number) for info in found)]
    faults = {f"series {info.number}": info.verdict for info in found if info.code}
    return {"study": str(path), **dict(zip(names, table, strict=True)), **faults, **_privacy(found)}


def _series(info: SeriesInfo) -> list[str]:
    size = f"{info.rows}x{info.columns}" if info.rows else "mixed" if info.slices else "-"
    steps = "-" if info.spacing_mm is None else "x".join("?" if s is None else f"{s:.3g}" for s in info.spacing_mm)
    plane = info.orientation if info.slices else "-"
    return [info.modality or "?", str(info.slices or "-"), size, steps, plane, info.code or _short(info)]


def _short(info: SeriesInfo) -> str:
    return info.verdict if info.slices else "no image"


def _privacy(found: Sequence[SeriesInfo]) -> dict[str, str]:
    """What warns of a person's identity, with the series it is in."""
    said = {words: [i.number for i in found if words in i.warnings] for i in found for words in i.warnings}
    texts = [f"{words} ({', '.join(map(str, numbers))})" for words, numbers in said.items()]
    return {"privacy": "; ".join(texts)} if texts else {}


def _segmentation(path: Path) -> dict[str, str] | None:
    found = list_segments(path)
    if found is None:
        return None
    return {
        "segmentation": str(path),
        "kind": found.kind,
        "frames": f"{found.frames} of {found.rows} x {found.columns} pixels",
        "segments": ", ".join(f"{number} {name}" for number, name in enumerate(found.names, start=1)),
    }


def _image(path: Path) -> dict[str, str]:
    image = read_nifti(path, volume=0) if path.name.lower().endswith((".nii", ".nii.gz")) else read_image(path)
    c, z, y, x = image.shape
    finite = image.array[np.isfinite(image.array)] if image.array.dtype.kind == "f" else image.array
    values = f"{finite.min():g} to {finite.max():g}" if finite.size else "none is a number"
    spacing = image.spacing_mm or ()
    return {
        "image": str(path),
        "size": f"{c} channel{'s' * (c > 1)}, {z} slice{'s' * (z > 1)} of {y} x {x} pixels, {image.array.dtype}",
        "values": f"{values} {image.meta.get('unit', '')}".strip(),
        "spacing": " x ".join("unknown" if s is None else f"{s:g}" for s in spacing) + " mm (z, y, x)"
        if spacing
        else "unknown",
        "plane": orientation(None if image.direction is None else np.asarray(image.direction)),
        "modality": image.modality or "unknown",
        **{name: value for name, value in image.meta.items() if name != "unit"},
    }


def _dataset(path: Path) -> dict[str, str]:
    data = read_dataset(path)
    c, h, w = data.train.images.shape[1:]
    return {
        "data set": f"{data.name}{' (synthetic)' if data.synthetic else ''}",
        "images": f"{c} channel{'s' * (c > 1)} of {h} x {w} pixels, {data.train.images.dtype}",
        **{name: _counts(data, split.labels) + f", {len(set(split.groups))} groups" for name, split in data.splits()},
        "sha-256": data.digest,
    }


def _counts(data: ClassificationData, labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> str:
    counts = np.bincount(labels, minlength=len(data.classes))
    each = ", ".join(f"{name} {n}" for name, n in zip(data.classes, counts, strict=True))
    return f"{len(labels)} images: {each}"


def _model(path: Path) -> dict[str, str]:
    classifier = load_model(path)
    card = classifier.card
    c, h, w = card.input_shape
    return {
        "model": f"{card.architecture['name']}, {sum(p.numel() for p in classifier.model.parameters())} parameters",
        "input": f"{c} channel{'s' * (c > 1)} of {h} x {w} pixels",
        "classes": ", ".join(card.classes),
        "trained on": f"{card.data.get('name', 'unknown')}{' (synthetic)' if card.data.get('synthetic') else ''}",
        **{name.replace("_", " "): f"{value:.4g}" for name, value in card.validation.items()},
        **({"decides": f"about patients: {_steps(card.decision)}"} if card.decision else {}),
        "notice": card.notice,
    }


def _steps(decision: Mapping[str, Any]) -> str:
    """A decision in one line."""
    steps = [f"{decision['pooling']} of the images", f"temperature {decision['temperature']:.3g}"]
    if decision["healthy"] is not None:
        steps.append(f"not {decision['healthy']} from {decision['threshold']:.3g}")
    return ", ".join([*steps, f"a human up to {decision['refer_below']:.3g}"])


def _run(folder: Path) -> dict[str, str]:
    run = Run.open(folder)
    facts = {"run": str(folder), "data": str(run.data.get("path")), "seed": str(run.recipe.seed)}
    if (folder / "history.json").is_file():
        rows = read_json(folder / "history.json")
        facts["epochs"] = f"{len(rows)} of {run.recipe.epochs}"
    if (folder / "model.safetensors").is_file():
        facts |= _model(folder / "model.safetensors")
    return facts
