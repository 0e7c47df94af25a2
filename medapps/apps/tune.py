"""Search for a better recipe: `medapps tune`. Random draws, successive halving, choice by the validation split alone.

Every trial is a training that can stop and go on bit for bit, so each rung continues its survivors where the last one
left them. The learning rate's schedule spans `recipe.epochs`, which is the full number for all trials: to be halved
means to stop early on the way, and a survivor ends as if it had never been interrupted.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medapps import NOTICE
from medapps.apps import classify, diagnose
from medapps.apps.run import Data, check_free, read_data
from medapps.apps.segment import NETS
from medapps.apps.trials import Trial, Tuning, best_trial
from medapps.errors import DivergedError, InputError
from medapps.files import make_folder, read_json, write_json
from medapps.fit import fit
from medapps.recipe import Recipe
from medapps.search import drawn_recipe, halvings

__all__ = ["tune"]

STATE, BEST, TRIALS, CHECKPOINT = "tune.json", "best.json", "trials", "checkpoint.safetensors"


def tune(
    data_path: str | Path,
    folder: str | Path = "tune",
    *,
    task: str = "classify",
    net: str = "reseg",
    recipe: Recipe | None = None,
    trials: int = 16,
    eta: int = 3,
    seed: int = 0,
    minutes: float | None = None,
    resume: bool = False,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda text: None,
    **overrides: Any,
) -> Tuning:
    """Try recipes around one, and keep the one whose validation figure `recipe.select` is best; see `medapps.search`.

    The test split is not looked at. Killed at any moment and called again with `resume`, it ends with the same
    tune.json as if nothing had happened. What trial n draws depends on (seed, n) alone, so more trials try the same
    ones and others besides.

    Args:
        data_path: what `medapps train` of that task takes.
        folder: for tune.json, best.json (the best recipe so far) and a folder for each trial.
        task: "classify", "segment" or "diagnose". net: "reseg" or "unet", for a segmentation.
        recipe: where to start from, and trial 0; that of the task when None. overrides: fields of it to change.
        trials: how many to start with; eta: one in how many goes on to the next rung, for eta times as many epochs.
        seed: of the draws. The trainings have the recipe's seed, all of them the same.
        minutes: start nothing more after that long; `resume` goes on.
        resume: go on with the search in `folder`. overwrite: start again in a folder that holds one.
        say: told a line after each piece of work.

    Raises:
        InputError: one sentence about data, options or folder. OutputError: if something could not be written.
    """
    _check(trials, eta, seed, minutes)
    base = Recipe.from_dict({**(recipe or _base(task, net)).to_dict(), **overrides})
    if base.task != task:
        raise InputError(f"tune: the recipe is for {base.task}, not {task}; give --task {base.task}")
    place = Path(folder)
    if not resume:
        check_free(place, overwrite=overwrite, way_out="add --resume to go on with it, or --overwrite to start again")
    data = read_data(data_path, base)
    asked = {"recipe": base.to_dict(), "trials": trials, "eta": eta, "seed": seed, "digest": data.digest}
    if resume:
        found = _read(place / STATE, asked)
    else:
        _clear(place)
        found = [Trial(number, drawn_recipe(base, seed, number)) for number in range(trials)]
    search = _Search(place, data, asked, found, say)
    search.write()
    return search.go(halvings(trials, base.epochs, eta), _deadline(minutes))


@dataclass
class _Search:
    """A search under way, and its folder."""

    folder: Path
    data: Data
    asked: dict[str, Any]
    trials: list[Trial]
    say: Callable[[str], None]

    def go(self, rungs: tuple[tuple[int, int], ...], deadline: float) -> Tuning:
        """Climb the rungs until the last one or the deadline."""
        on = self.trials
        for rung, (count, epochs) in enumerate(rungs):
            on = sorted(on, key=lambda trial: trial.score(rung - 1), reverse=True)[:count] if rung else on
            for trial in sorted(on, key=lambda trial: trial.number):
                if trial.failed or len(trial.reached) > rung:
                    continue
                if time.monotonic() >= deadline:
                    return self.result(finished=False)
                self.train(trial, epochs)
                self.write()
                self.say(f"rung {rung + 1} of {len(rungs)}, trial {trial.number}: {self.outcome(trial)}")
            if all(trial.failed for trial in on):
                raise InputError(f"tune: no trial could be trained; the first says: {on[0].failed}")
        return self.result(finished=True)

    def train(self, trial: Trial, epochs: int) -> None:
        """Bring a trial to `epochs` epochs, from wherever it is."""
        place = self.folder / TRIALS / str(trial.number)
        try:
            history = fit(trial.recipe, self.data, place, epochs=epochs, resume=(place / CHECKPOINT).is_file())
        except DivergedError as error:
            trial.failed = str(error)
            return
        best = history.rows[history.best_epoch - 1]
        trial.reached.append(
            {"epochs": len(history.rows), "best_epoch": history.best_epoch, "value": best[trial.recipe.select]}
        )

    def outcome(self, trial: Trial) -> str:
        """What became of a trial, for people."""
        if trial.failed:
            return trial.failed
        last = trial.reached[-1]
        return f"{trial.recipe.select} {last['value']:.4f} after {last['epochs']} epochs"

    def write(self) -> None:
        """Keep all that is known: whole, or as it was before."""
        make_folder(self.folder)
        best = best_trial(self.trials)
        if best is not None:
            write_json(self.folder / BEST, {"notice": NOTICE, "recipe": best.recipe.to_dict()})
        state = {
            "notice": NOTICE,
            "asked": self.asked,
            "best": best.number if best else None,
            "trials": [trial.to_dict() for trial in self.trials],
        }
        write_json(self.folder / STATE, state)

    def result(self, *, finished: bool) -> Tuning:
        return Tuning(self.folder, tuple(self.trials), best_trial(self.trials), finished)


def _base(task: str, net: str) -> Recipe:
    if task == "segment":
        if net not in NETS:
            raise InputError(f"tune: no network is called {net!r}; known are {', '.join(NETS)}")
        return NETS[net]
    starts = {"classify": classify.RECIPE, "diagnose": diagnose.RECIPE}
    if task not in starts:
        raise InputError(f"tune: no task is called {task!r}; known are classify, segment, diagnose")
    return starts[task]


def _check(trials: int, eta: int, seed: int, minutes: float | None) -> None:
    for name, value, least in (("trials", trials, 2), ("eta", eta, 2), ("seed", seed, 0)):
        if value < least:
            raise InputError(f"tune: {name} must be a whole number from {least} up, got {value}")
    if minutes is not None and not minutes > 0:
        raise InputError(f"tune: minutes must be a positive number, got {minutes}")


def _deadline(minutes: float | None) -> float:
    return float("inf") if minutes is None else time.monotonic() + 60 * minutes


def _read(file: Path, asked: dict[str, Any]) -> list[Trial]:
    """The trials of a search that was started, and is the one asked for."""
    if not file.is_file():
        raise InputError(f"{file.parent}: holds no search to resume; leave --resume out to start one")
    state = read_json(file)
    try:
        was = state["asked"]
        for name in ("digest", "trials", "eta", "seed", "recipe"):
            if was[name] != asked[name]:
                what = "other data" if name == "digest" else f"another {name}" if name == "recipe" else ""
                what = what or f"{name} {was[name]}, not {asked[name]}"
                raise InputError(f"{file.parent}: was started with {what}; resume with what it was started with")
        return [
            Trial(t["number"], Recipe.from_dict(t["recipe"]), list(t["reached"]), t["failed"]) for t in state["trials"]
        ]
    except (KeyError, TypeError) as error:
        raise InputError(f"{file}: is not the state of a search") from error


def _clear(folder: Path) -> None:
    """Take an earlier search away; other files stay."""
    for name in (STATE, BEST):
        (folder / name).unlink(missing_ok=True)
    for place in (folder / TRIALS).glob("*"):
        if place.name.isdigit() and (place / CHECKPOINT).is_file():
            shutil.rmtree(place)
