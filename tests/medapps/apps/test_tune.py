"""tune: the better share goes on, nothing but validation decides, and a kill at any moment changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medapps.apps import tune as module
from medapps.apps.run import Data
from medapps.apps.training import read_recipe
from medapps.apps.tune import tune
from medapps.errors import DivergedError, InputError
from medapps.fit import Trainer, fit
from medapps.recipe import Recipe
from medapps.search import drawn_recipe, halvings
from tests.medapps.small_data import small_data
from tests.medapps.small_masks import small_masks

RECIPE = Recipe(widths=(4,), epochs=4, batch_size=16, augment=({"name": "flip"}, {"name": "contrast"}))
OPTIONS: dict[str, Any] = {"recipe": RECIPE, "trials": 4, "eta": 2, "seed": 3}


def write(folder: Path, test_seed: int = 0) -> Path:
    """The small data set as a file; `test_seed` changes its test split alone."""
    arrays = {}
    for name, split in small_data(n=32).splits():
        arrays |= {f"{name}_images": split.images[:, 0], f"{name}_labels": split.labels[:, None]}
    if test_seed:
        rng = np.random.default_rng(test_seed)
        arrays["test_images"] = rng.integers(0, 255, arrays["test_images"].shape).astype(np.uint8)
        arrays["test_labels"] = rng.permutation(arrays["test_labels"])
    np.savez(folder / "small.npz", **arrays)
    return folder / "small.npz"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A search that was never stopped: its folder and its state."""
    folder = tmp_path_factory.mktemp("whole")
    tune(write(folder), folder / "out", **OPTIONS)
    return folder, json.loads((folder / "out" / "tune.json").read_text())


def test_the_rungs_are_those_of_hyperband() -> None:
    """Li et al. 2018, table 1, bracket s = 4: 81 configurations, R = 81, eta = 3."""
    assert halvings(81, 81, 3) == ((81, 1), (27, 3), (9, 9), (3, 27), (1, 81))
    for trials in range(2, 30):
        for epochs in range(1, 40):
            rungs = halvings(trials, epochs, 3)
            assert rungs[0][0] == trials
            assert rungs[-1][1] == epochs
            assert rungs[0][1] >= 1
            assert rungs[-1][0] >= 1


def test_the_best_by_validation_go_on(whole: tuple[Path, dict[str, Any]]) -> None:
    _, state = whole
    on = state["trials"]
    for rung, epochs in enumerate((1, 2, 4)):
        assert all(t["reached"][rung]["epochs"] == epochs for t in on)
        losses = {t["number"]: t["reached"][rung]["value"] for t in on}
        stay = sorted(losses, key=losses.__getitem__)[: max(1, len(on) // 2)]
        further = [t["number"] for t in state["trials"] if len(t["reached"]) > rung + 1]
        assert sorted(further) == (sorted(stay) if rung < 2 else [])
        on = [t for t in on if t["number"] in stay]
    assert state["best"] == on[0]["number"]
    assert len({json.dumps(t["recipe"]) for t in state["trials"]}) == 4


def test_a_rung_continues_its_survivors(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, one_epoch = [], Trainer.train_epoch

    def counted(trainer: Trainer, *args: Any) -> dict[str, float]:
        trained.append(len(trainer.rows))
        return one_epoch(trainer, *args)

    monkeypatch.setattr(Trainer, "train_epoch", counted)
    tune(whole[0] / "small.npz", tmp_path, **OPTIONS)
    assert trained == [0, 0, 0, 0, 1, 1, 2, 3]  # rungs of 4, 2 and 1 trials, that end at 1, 2 and 4 epochs


def test_the_best_trial_is_as_if_it_had_been_trained_alone(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, state = whole
    recipe = read_recipe(folder / "out" / "best.json")
    history = fit(recipe, module.read_data(folder / "small.npz", recipe), tmp_path)
    last = state["trials"][state["best"]]["reached"][-1]
    assert (last["best_epoch"], last["value"]) == (
        history.best_epoch, history.rows[history.best_epoch - 1]["val_loss"],
    )  # fmt: skip


@pytest.mark.parametrize("killed_at", [1, 3, 6, 7])
@pytest.mark.parametrize("moment", ["before training", "after training"])
def test_a_kill_changes_nothing(
    killed_at: int, moment: str, whole: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def deadly(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == killed_at and moment == "before training":
            raise KeyboardInterrupt
        found = fit(*args, **options)
        if calls == killed_at:
            raise KeyboardInterrupt
        return found

    folder, state = whole
    monkeypatch.setattr(module, "fit", deadly)
    with pytest.raises(KeyboardInterrupt):
        tune(folder / "small.npz", tmp_path, **OPTIONS)
    assert tune(folder / "small.npz", tmp_path, resume=True, **OPTIONS).finished
    assert json.loads((tmp_path / "tune.json").read_text()) == state
    assert (tmp_path / "best.json").read_text() == (folder / "out" / "best.json").read_text()


def test_the_test_split_changes_nothing(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    _, state = whole
    other = tmp_path / "other"
    other.mkdir()
    tune(write(other, test_seed=5), tmp_path / "out", **OPTIONS)
    found = json.loads((tmp_path / "out" / "tune.json").read_text())
    assert found["asked"].pop("digest") != state["asked"]["digest"]  # it was another file
    assert found == {**state, "asked": {k: v for k, v in state["asked"].items() if k != "digest"}}


def test_what_a_budget_leaves_is_done_later(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, state = whole
    stopped = tune(folder / "small.npz", tmp_path, minutes=1e-9, **OPTIONS)
    assert not stopped.finished
    assert stopped.best is None
    assert stopped.table()[1][:2] == ["0", "0"]
    tune(folder / "small.npz", tmp_path, resume=True, minutes=60, **OPTIONS)
    assert json.loads((tmp_path / "tune.json").read_text()) == state


def test_a_draw_depends_on_seed_and_number_alone() -> None:
    first = [drawn_recipe(RECIPE, 0, n) for n in range(200)]
    assert first[0] == RECIPE
    assert first == [drawn_recipe(RECIPE, 0, n) for n in range(200)]
    assert drawn_recipe(RECIPE, 1, 5) != first[5]
    assert {len(r.widths) for r in first} == {1, 2}
    assert {len(r.augment) for r in first} == {0, 1, 2}
    rates = np.log([r.lr / RECIPE.lr for r in first[1:]])
    assert np.log(0.099) < rates.min() < rates.max() < np.log(3.01)
    # Even on the log scale: the mean of 199 draws lies within four standard errors of the middle.
    assert abs(rates.mean() - np.log(0.3) / 2) < 4 * (np.log(30) / 12**0.5) / 199**0.5
    assert {(r.epochs, r.seed, r.select, r.task) for r in first} == {(4, 0, "val_loss", "classify")}


def test_what_is_listed_for_each_stage_goes_along_with_the_stages() -> None:
    reseg = Recipe(task="segment", widths=(8, 8), options={"patches": [2, 2], "cell": "gru"})
    for number in range(40):
        recipe = drawn_recipe(reseg, 0, number)
        assert len(recipe.options["patches"]) == len(recipe.widths)
        assert recipe.options["cell"] == "gru"


def test_a_trial_whose_loss_breaks_is_out(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fragile(recipe: Recipe, data: Data, place: Path, **options: Any) -> Any:
        if place.name == str(whole[1]["best"]):
            raise DivergedError("training: the loss became nan")
        return fit(recipe, data, place, **options)

    monkeypatch.setattr(module, "fit", fragile)
    found = tune(whole[0] / "small.npz", tmp_path, **OPTIONS)
    assert found.best is not None
    assert found.best.number != whole[1]["best"]
    assert found.table()[-1][-1] == "training: the loss became nan"


def test_a_segmentation_is_tuned_by_its_dice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_data", lambda path, recipe: small_masks(cases=2, depth=1))
    small = Recipe(task="segment", model="unet", widths=(4, 4), epochs=2, batch_size=2, select="val_dice")
    found = tune("discs", tmp_path, task="segment", recipe=small, trials=2, eta=2)
    assert found.best is not None
    figures = [t.reached[0]["value"] for t in found.trials]
    assert found.best.number == int(np.argmax(figures))
    assert found.table()[0][2] == "val_dice"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 1}, "trials must be a whole number from 2 up, got 1"),
        ({"eta": 1}, "eta must be a whole number from 2 up"),
        ({"minutes": 0}, "minutes must be a positive number"),
        ({"task": "guess"}, "no task is called 'guess'"),
        ({"task": "segment", "net": "vgg"}, "no network is called 'vgg'"),
        ({"task": "segment", "recipe": RECIPE}, "the recipe is for classify, not segment"),
        ({"resume": True}, "holds no search to resume"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        tune("nowhere.npz" if "resume" not in options else write(tmp_path), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "is not empty; add --resume"),
        ({"resume": True, "trials": 5}, "was started with trials 4, not 5"),
        ({"resume": True, "epochs": 5}, "was started with another recipe"),
    ],
)
def test_a_search_is_not_mixed_with_another(
    options: dict[str, Any], message: str, whole: tuple[Path, dict[str, Any]]
) -> None:
    with pytest.raises(InputError, match=message):
        tune(whole[0] / "small.npz", whole[0] / "out", **{**OPTIONS, **options})


def test_overwrite_takes_the_search_away_and_nothing_else(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    tune(whole[0] / "small.npz", tmp_path, overwrite=True, **{**OPTIONS, "seed": 8, "epochs": 1})
    tune(whole[0] / "small.npz", tmp_path, overwrite=True, **OPTIONS)
    assert json.loads((tmp_path / "tune.json").read_text()) == whole[1]
    assert (tmp_path / "thesis.txt").exists()
