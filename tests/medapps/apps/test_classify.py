"""train_classifier: a data set to a run folder, and nothing half-written when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medapps.apps.classify import train_classifier
from medapps.apps.inspect import inspect
from medapps.apps.run import Run
from medapps.apps.training import default_run, read_recipe
from medapps.errors import InputError, OutputError
from medapps.files import write_json
from tests.medapps.small_data import small_data

QUICK = {"epochs": 2, "widths": [4], "batch_size": 16, "augment": []}


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    data = small_data()
    arrays = {}
    for name, split in data.splits():
        arrays |= {f"{name}_images": split.images[:, 0], f"{name}_labels": split.labels[:, None]}
    np.savez(tmp_path / "small.npz", **arrays)
    return tmp_path / "small.npz"


def test_a_run_holds_model_history_and_recipe(npz: Path, tmp_path: Path) -> None:
    train_classifier(npz, tmp_path / "run", seed=3, **QUICK)
    run = Run.open(tmp_path / "run")
    assert run.recipe.seed == 3
    assert run.data["name"] == "small"
    assert {p.name for p in run.folder.iterdir()} == {
        "recipe.json", "model.safetensors", "checkpoint.safetensors", "history.json",
    }  # fmt: skip
    assert inspect(run.folder)["epochs"] == "2 of 2"
    assert inspect(run.folder / "model.safetensors")["input"] == "1 channel of 10 x 10 pixels"


def test_a_folder_in_use_is_refused_and_left_alone(npz: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"is not empty; add --resume .* or --overwrite"):
        train_classifier(npz, tmp_path / "run", **QUICK)
    train_classifier(npz, tmp_path / "run", overwrite=True, **QUICK)
    assert (tmp_path / "run" / "thesis.txt").read_text() == "years of work"


def test_resume_goes_on_with_the_recipe_it_was_started_with(npz: Path, tmp_path: Path) -> None:
    train_classifier(npz, tmp_path / "run", **QUICK)
    assert len(train_classifier(npz, tmp_path / "run", resume=True).rows) == 2
    assert len(train_classifier(npz, tmp_path / "run", resume=True, epochs=2).rows) == 2
    with pytest.raises(InputError, match="was started with epochs 2, not 5; leave epochs out to resume"):
        train_classifier(npz, tmp_path / "run", resume=True, epochs=5)


def test_resume_where_nothing_was_started_is_refused(npz: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        train_classifier(npz, tmp_path / "run", resume=True)


def test_bad_data_leaves_no_run_folder(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", train_images=np.zeros((4, 8, 8), np.uint8), train_labels=np.array([0, 1, 7, 0]))
    for name in ("missing.npz", "bad.npz"):
        with pytest.raises(InputError):
            train_classifier(tmp_path / name, tmp_path / "run", **QUICK)
        assert not (tmp_path / "run").exists()


def test_a_run_inside_a_file_is_refused(npz: Path) -> None:
    with pytest.raises((InputError, OutputError), match=r"is a file|could not be made"):
        train_classifier(npz, npz / "run", **QUICK)
    with pytest.raises(InputError, match="is a file; name a folder"):
        train_classifier(npz, npz, **QUICK)


def test_changed_data_is_noticed(npz: Path, tmp_path: Path) -> None:
    train_classifier(npz, tmp_path / "run", **QUICK)
    with np.load(npz) as held:
        arrays = dict(held)
    arrays["train_images"][0, 0, 0] ^= 1
    np.savez(npz, **arrays)
    with pytest.raises(InputError, match="is not the data that"):
        train_classifier(npz, tmp_path / "run", resume=True)


@pytest.mark.parametrize("content", ["[]", "{}", '{"recipe": {}}', '{"recipe": {"epochs": 0}, "data": {}}', "nonsense"])
def test_a_damaged_recipe_file_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(InputError, match=r"recipe\.json: "):
        Run.open(tmp_path)


def test_a_recipe_is_read_from_its_own_file_or_from_a_run(tmp_path: Path) -> None:
    write_json(tmp_path / "mine.json", {"lr": 0.01})
    write_json(tmp_path / "run.json", {"notice": "", "recipe": {"lr": 0.01}})
    assert read_recipe(tmp_path / "mine.json") == read_recipe(tmp_path / "run.json")


def test_default_folders_are_named_after_data_and_seed(tmp_path: Path) -> None:
    assert default_run("x/chest.npz", 2) == Path("runs/chest-seed2")
    assert default_run(tmp_path / "pictures") == Path("runs/pictures-seed0")


def test_recipe_json_says_what_a_result_depends_on(npz: Path, tmp_path: Path) -> None:
    train_classifier(npz, tmp_path / "run", **QUICK)
    content = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert content["recipe"]["epochs"] == 2
    assert content["data"]["n"] == {"train": 48, "val": 24, "test": 24}
    assert content["notice"].startswith("For research")
