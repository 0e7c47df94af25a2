"""Judge a segmentation on the cases of a split."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from medapps.apps.cost import cost_of
from medapps.apps.segment_study import segment_image
from medapps.evaluate_segmentation import SegmentationEvaluation, cases_csv, evaluate_segmentation
from medapps.files import write_bytes, write_text
from medapps.inference import Classifier
from medapps.readers import SegmentationData
from medapps.segmentation_examples import segmentation_examples

__all__ = ["judge_segmentation"]


def judge_segmentation(folder: Path, classifier: Classifier, data: SegmentationData) -> SegmentationEvaluation:
    """Segment every case of the test split as `medapps predict` would, and measure how good that was.

    Writes evaluation.json, cases.csv and examples.npz into the run folder.
    """
    start = time.perf_counter()
    masks = [segment_image(case.image, classifier).mask for case in data.test]
    speed = sum(case.image.shape[1] for case in data.test) / (time.perf_counter() - start)
    truths = [case.mask for case in data.test]
    result = evaluate_segmentation(
        truths,
        masks,
        [case.image.spacing_mm for case in data.test],
        data.classes,
        split="test",
        names=[case.name for case in data.test],
        groups=[case.group for case in data.test],
        cost=cost_of(folder, classifier, speed),
    )
    pictures = [np.asarray(case.image.to_uint8()) for case in data.test]
    write_text(folder / "cases.csv", cases_csv(result))
    write_bytes(folder / "examples.npz", segmentation_examples(pictures, truths, masks, result))
    write_text(folder / "evaluation.json", result.to_json())
    return result
