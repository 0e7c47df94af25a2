"""fit learns, keeps the best epoch, and can be stopped anywhere and go on bit for bit."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from medapps.errors import DivergedError, InputError
from medapps.fit import History, Trainer, fit
from medapps.inference import load_model, predict_probabilities
from medapps.readers import ClassificationData
from medapps.recipe import Recipe
from medapps.transforms import Compose
from tests.medapps.small_data import small_data

RECIPE = Recipe(
    widths=(4, 8),
    augment=({"name": "flip", "axes": ["y"]}, {"name": "contrast"}),
    epochs=4,
    batch_size=12,
    lr=0.02,
    dropout=0.1,
)


class Recorder:
    """A progress display that remembers, and stops the run like Ctrl-C after `stop_after` epochs or steps."""

    def __init__(self, stop_after_epoch: int = -1, stop_after_step: int = -1) -> None:
        self.stop_after_epoch, self.stop_after_step = stop_after_epoch, stop_after_step
        self.epochs, self.steps, self.started = 0, 0, (0, 0, 0)

    def start(self, epochs: int, done: int, steps: int) -> None:
        self.started = (epochs, done, steps)

    def step(self, loss: float) -> None:
        self.steps += 1
        if self.steps == self.stop_after_step:
            raise KeyboardInterrupt

    def epoch(self, row: dict[str, float], best: bool) -> None:
        self.epochs += 1
        if self.epochs == self.stop_after_epoch:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def data() -> ClassificationData:
    return small_data()


@pytest.fixture(scope="module")
def whole(data: ClassificationData, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, History]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, fit(RECIPE, data, folder)


def test_it_learns_what_can_be_learnt(whole: tuple[Path, History]) -> None:
    _, history = whole
    assert [row["epoch"] for row in history.rows] == [1, 2, 3, 4]
    assert history.rows[-1]["train_loss"] < history.rows[0]["train_loss"]
    assert history.rows[history.best_epoch - 1]["val_auc"] > 0.9


def test_the_kept_model_is_the_best_epoch(whole: tuple[Path, History], data: ClassificationData) -> None:
    folder, history = whole
    classifier = load_model(folder)
    best = min(history.rows, key=lambda row: row["val_loss"])
    assert classifier.card.validation["epoch"] == history.best_epoch == best["epoch"]
    p = predict_probabilities(classifier.model, Compose.from_list(classifier.card.preparation).apply(data.val.images))
    loss = -np.log(p[np.arange(len(p)), data.val.labels]).mean()  # classes are balanced here
    assert loss == pytest.approx(best["val_loss"], rel=1e-6)


def test_history_is_on_disk_as_plain_json(whole: tuple[Path, History]) -> None:
    folder, history = whole
    assert json.loads((folder / "history.json").read_text()) == list(history.rows)


@pytest.mark.parametrize("stop", [{"stop_after_epoch": 2}, {"stop_after_step": 2}, {"stop_after_step": 11}])
def test_stopping_and_resuming_changes_no_bit(
    stop: dict[str, int], whole: tuple[Path, History], data: ClassificationData, tmp_path: Path
) -> None:
    folder, history = whole
    with pytest.raises(KeyboardInterrupt):
        fit(RECIPE, data, tmp_path, progress=Recorder(**stop))
    second = Recorder()
    resumed = fit(RECIPE, data, tmp_path, resume=True, progress=second)
    assert second.started[1] + second.epochs == 4
    for name in ("model.safetensors",):
        there, here = load_file(folder / name), load_file(tmp_path / name)
        assert there.keys() == here.keys()
        assert all(np.array_equal(there[key], here[key]) for key in there), name
    assert [without_time(r) for r in resumed.rows] == [without_time(r) for r in history.rows]
    assert resumed.best_epoch == history.best_epoch


def without_time(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "seconds"}


def test_resuming_a_finished_run_changes_nothing(whole: tuple[Path, History], data: ClassificationData) -> None:
    folder, history = whole
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert fit(RECIPE, data, folder, resume=True).rows[-1] == history.rows[-1]
    assert {name: (folder / name).read_bytes() for name in before if "checkpoint" not in name} == {
        name: content for name, content in before.items() if "checkpoint" not in name
    }


def test_resuming_with_another_recipe_or_other_data_is_refused(
    whole: tuple[Path, History], data: ClassificationData
) -> None:
    folder, _ = whole
    with pytest.raises(InputError, match="belongs to another recipe"):
        fit(replace(RECIPE, lr=0.1), data, folder, resume=True)
    with pytest.raises(InputError, match="belongs to other data"):
        fit(RECIPE, replace(data, digest="1" * 64), folder, resume=True)


def test_resuming_from_nothing_is_refused(data: ClassificationData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no checkpoint to resume from"):
        fit(RECIPE, data, tmp_path, resume=True)


def test_another_seed_gives_other_weights(
    whole: tuple[Path, History], data: ClassificationData, tmp_path: Path
) -> None:
    fit(replace(RECIPE, seed=1, epochs=1), data, tmp_path)
    there, here = load_file(whole[0] / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert not np.array_equal(there["head.weight"], here["head.weight"])


def test_it_stops_when_patience_is_over(data: ClassificationData, tmp_path: Path) -> None:
    history = fit(replace(RECIPE, epochs=20, patience=2, lr=1e-12, augment=(), average=0.0), data, tmp_path)
    assert len(history.rows) < 20
    assert len(history.rows) - history.best_epoch == 2


def test_each_epoch_sees_every_image_once_in_another_order(data: ClassificationData) -> None:
    task = Trainer(replace(RECIPE, augment=(), balance="none"), data).task
    seeds = (0, 1, 0)
    orders = [np.concatenate([labels for _, labels in task.batches(0, np.random.default_rng(s))]) for s in seeds]
    assert np.bincount(orders[0]).tolist() == np.bincount(data.train.labels).tolist()
    assert not np.array_equal(orders[0], orders[1])
    assert np.array_equal(orders[0], orders[2])


def test_a_class_missing_from_validation_is_named(data: ClassificationData, tmp_path: Path) -> None:
    only_a = data.val.take(data.val.labels == 0)
    with pytest.raises(InputError, match=r"^small: class 'b' has no image in the validation split"):
        fit(RECIPE, replace(data, val=only_a), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_stops_the_run(
    data: ClassificationData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "train_step", lambda *_: math.nan)
    with pytest.raises(DivergedError, match="the loss became nan in epoch 1; lower lr"):
        fit(RECIPE, data, tmp_path)


def test_an_unknown_transform_is_named_before_anything_is_written(data: ClassificationData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no transform is called 'blur'"):
        fit(replace(RECIPE, augment=({"name": "blur"},)), data, tmp_path / "run")


def test_three_classes_train_too(tmp_path: Path) -> None:
    history = fit(replace(RECIPE, epochs=1), small_data(classes=3), tmp_path)
    assert 0 <= history.rows[0]["val_auc"] <= 1


def test_a_checkpoint_from_before_a_field_was_there_can_be_resumed(
    data: ClassificationData, whole: tuple[Path, History], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Recipe.to_dict
    with monkeypatch.context() as then:
        then.setattr(Recipe, "to_dict", lambda r: {k: v for k, v in written(r).items() if k != "metrics"})
        fit(RECIPE, data, tmp_path, epochs=2)
    assert without_time(fit(RECIPE, data, tmp_path, resume=True).rows[-1]) == without_time(whole[1].rows[-1])
