"""What a run cost: time, memory, size."""

from __future__ import annotations

from pathlib import Path

import minidl
from medapps.evaluate import Cost, peak_memory_mb
from medapps.files import read_json
from medapps.inference import Classifier

__all__ = ["cost_of"]


def cost_of(folder: Path, classifier: Classifier, images_per_second: float) -> Cost:
    """The cost of the run in `folder`, whose model predicts so fast."""
    rows = read_json(folder / "history.json")
    return Cost(
        seconds=float(sum(row["seconds"] for row in rows)),
        images_per_second=images_per_second,
        peak_memory_mb=peak_memory_mb(),
        parameters=sum(p.numel() for p in classifier.model.parameters()),
        model_bytes=(folder / "model.safetensors").stat().st_size,
        threads=minidl.get_num_threads(),
    )
