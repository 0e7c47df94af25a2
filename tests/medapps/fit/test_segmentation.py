"""Training a segmentation: it learns, it goes on bit for bit, and its patches show image and label of one place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medapps.apps.segment import NETS
from medapps.errors import InputError
from medapps.fit import Trainer, fit
from medapps.inference import load_model, prepare_planes, segment_planes, with_context
from medapps.readers import Case, SegmentationData
from medapps.recipe import Recipe
from medapps.transforms import Compose
from tests.medapps.small_masks import small_masks

UNET = replace(NETS["unet"], widths=(6, 12), epochs=5, samples=96, batch_size=4, lr=0.02, average=0.5)
RESEG = replace(
    NETS["reseg"], widths=(6,), options={"patches": [2], "stem": 4}, epochs=5, samples=96, batch_size=4, lr=0.02,
    average=0.5,
)  # fmt: skip


@pytest.fixture(scope="module")
def data() -> SegmentationData:
    return small_masks()


@pytest.mark.parametrize("recipe", [UNET, RESEG], ids=["unet", "reseg"])
def test_it_learns_discs(recipe: Recipe, data: SegmentationData, tmp_path: Path) -> None:
    history = fit(recipe, data, tmp_path)
    best = history.rows[history.best_epoch - 1]
    assert best["val_dice"] == max(row["val_dice"] for row in history.rows) > 0.85
    # The model file finds the same as the network that was judged.
    found = load_model(tmp_path)
    assert (found.card.task, found.card.context) == ("segment", 1)
    case = data.val[0]
    planes = prepare_planes(Compose.from_list(found.card.preparation), case.image)
    mask = segment_planes(found.model, with_context(planes, found.card.context)).argmax(1)
    overlap = 2 * (mask & case.mask).sum() / (mask.sum() + case.mask.sum())
    assert overlap > 0.8


def test_a_stopped_run_goes_on_bit_for_bit(data: SegmentationData, tmp_path: Path) -> None:
    recipe = replace(UNET, epochs=2, samples=12)
    fit(recipe, data, tmp_path / "whole")
    fit(recipe, data, tmp_path / "stopped", epochs=1)
    fit(recipe, data, tmp_path / "stopped", resume=True)
    whole, stopped = ((tmp_path / name / "checkpoint.safetensors") for name in ("whole", "stopped"))
    held, again = (load_arrays(path) for path in (whole, stopped))
    assert all((held[name] == again[name]).all() for name in held)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(path)


def test_a_patch_shows_image_and_label_of_the_same_place(data: SegmentationData) -> None:
    """With grey equal to label, every patch must be equal to its own label map, mirrored borders included."""
    cases = [_label_as_grey(case) for case in (*data.train, *data.val, *data.test)]
    same = replace(data, train=tuple(cases[:6]), val=tuple(cases[6:9]), test=tuple(cases[9:]))
    augment = ({"name": "flip", "axes": ["y", "x"]}, {"name": "crop", "padding": 3})
    recipe = replace(UNET, prepare=(), augment=augment, patch_size=16, context=0)
    for images, masks in Trainer(recipe, same).task.batches(0, np.random.default_rng(0)):
        assert images.shape[1:] == (1, 16, 16)
        assert (images[:, 0] == masks).all()


def test_foreground_patches_show_what_is_labelled(data: SegmentationData) -> None:
    task = Trainer(replace(UNET, foreground=1.0, patch_size=16, augment=()), data).task
    assert all((masks.sum((1, 2)) > 0).all() for _, masks in task.batches(0, np.random.default_rng(0)))


def test_a_small_slice_is_mirrored_up_to_the_patch(data: SegmentationData) -> None:
    task = Trainer(replace(UNET, augment=()), data).task
    images, masks = next(iter(task.batches(0, np.random.default_rng(0))))
    assert images.shape[2:] == masks.shape[1:] == (32, 32)  # 20 pixels need 32, the next multiple of 16


def test_a_figure_that_the_task_does_not_have_cannot_select(data: SegmentationData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^recipe: select must be one of val_loss, val_dice for these data"):
        fit(replace(UNET, epochs=1, samples=6, select="val_auc"), data, tmp_path)


def _label_as_grey(case: Case) -> Case:
    return replace(case, image=case.image.with_array(case.mask[None].astype(np.float32)))
