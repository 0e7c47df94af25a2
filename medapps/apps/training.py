"""What all kinds of training share: a run folder that is started once, and gone on with as it was started."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from medapps.apps.run import Run, check_free, read_data
from medapps.device import choose_device
from medapps.errors import InputError
from medapps.files import read_json
from medapps.fit import History, Progress, fit
from medapps.recipe import Recipe

__all__ = ["default_run", "read_recipe", "train"]


def default_run(data_path: str | Path, seed: int = 0) -> Path:
    """Where a run goes when nobody says: runs/<data>-seed<seed>.

    >>> default_run("../data/pneumoniamnist.npz").as_posix()
    'runs/pneumoniamnist-seed0'
    """
    return Path("runs") / f"{Path(data_path).resolve().stem or 'data'}-seed{seed}"


def train(
    data_path: str | Path,
    run: str | Path | None,
    recipe: Recipe,
    overrides: Mapping[str, Any],
    *,
    given: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "cpu",
    progress: Progress | None = None,
) -> History:
    """Read the data, start (or resume) the run and fit.

    run: the folder to write into; `default_run` when None.
    overrides: fields of the recipe to change. given: the recipe was asked for, and must be the run's to resume it.

    Raises:
        DeviceError: if the device cannot be used; nothing is written then.
        InputError: one sentence about data, recipe or folder. OutputError: if something could not be written.
    """
    chosen = Recipe.from_dict({**recipe.to_dict(), **overrides})
    folder, where = Path(run) if run is not None else default_run(data_path, chosen.seed), choose_device(device)
    if resume:
        started = Run.open(folder)
        check_same(started, chosen, chosen.to_dict() if given else overrides)
        data = started.read_data(data_path)
        started.note_device(where)
        return fit(started.recipe, data, folder, resume=True, device=where, progress=progress)
    check_free(folder, overwrite=overwrite)
    data = read_data(data_path, chosen)
    Run.start(folder, chosen, data_path, data, overwrite=overwrite, device=where)
    return fit(chosen, data, folder, device=where, progress=progress)


def check_same(started: Run, chosen: Recipe, asked: Iterable[str]) -> None:
    """Refuse to resume with another recipe: the result would be neither the one nor the other."""
    was, now = started.recipe.to_dict(), chosen.to_dict()
    for name in asked:
        if now[name] != was[name]:
            raise InputError(
                f"{started.folder}: was started with {name} {was[name]}, not {now[name]}; leave {name} out to resume"
            )


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in a JSON file: one of its own, or the recipe.json of a run."""
    found = read_json(path)
    return Recipe.from_dict(found["recipe"] if isinstance(found, dict) and "recipe" in found else found)
