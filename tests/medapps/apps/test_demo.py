"""The demo: three small models, a page that leads to each, and nothing that looks finished when it is not."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from medapps import NOTICE
from medapps.apps import demo as module
from medapps.apps.demo import RECIPES, Demo, demo
from medapps.apps.evaluate import evaluate_run
from medapps.errors import InputError
from medapps.phantom import make_dataset
from tests.medapps.report.test_write import parsed, words

NAMES = ["tissue", "organs", "disease"]
SMALL: dict[str, Any] = {
    "recipes": {
        "tissue": replace(RECIPES["tissue"], widths=(8,), epochs=1),
        "organs": replace(RECIPES["organs"], widths=(8, 8), epochs=1, samples=8, patch_size=32),
        "disease": replace(RECIPES["disease"], widths=(8,), epochs=1, image_size=32),
    },
    "patients": {"tissue": 3, "organs": 3, "disease": 9},
}


@dataclass
class Heard:
    """A demo, what it said, and the names under which it asked to show progress."""

    demo: Demo
    said: list[str]
    asked: list[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Heard:
    said: list[str] = []
    asked: list[str] = []

    def ask(part: str) -> nullcontext[None]:
        asked.append(part)
        return nullcontext()

    place = tmp_path_factory.mktemp("demo") / "demo"
    return Heard(demo(place, 3, **SMALL, progress=ask, say=said.append), said, asked)


def test_a_demo_holds_three_runs_and_their_data(made: Heard) -> None:
    found = made.demo
    assert [part.name for part in found.parts] == NAMES
    for part in found.parts:
        assert (found.folder / "data" / part.name / "dataset.json").is_file()
        assert {"recipe.json", "model.safetensors", "evaluation.json", "report.html"} <= {
            file.name for file in part.folder.iterdir()
        }
        assert part.cpu_seconds > 0


def test_the_headlines_are_those_of_the_runs(made: Heard) -> None:
    found = made.demo
    assert [part.headline[0] for part in found.parts] == ["accuracy", "dice", "accuracy"]
    again: Any = evaluate_run(found.parts[1].folder)
    assert found.parts[1].headline[1] == again.metrics["dice"]


def test_the_page_shows_every_headline_and_leads_to_every_report(made: Heard) -> None:
    found = made.demo
    shown, text = words(found.report), found.report.read_text("utf-8")
    for part in found.parts:
        assert f"{part.headline[1].value:.3f}" in shown
        assert (found.folder / part.name / "report.html").is_file()
    links = re.findall(r'href="([^#"][^"]*)"', text)
    assert links == [f"{name}/report.html" for name in NAMES]
    assert "Synthetic data." in shown
    assert NOTICE in shown
    assert "<script" not in text
    assert str(found.folder) not in text
    assert parsed(found.report)


def test_the_page_shows_one_image_of_each_class(made: Heard) -> None:
    shown = words(made.demo.report)
    for name in ("tumour", "heart", "vessel", "other", "healthy", "nodule", "cavity"):
        assert shown.count(f"truth: {name} ") == 1


def test_every_step_names_its_part(made: Heard) -> None:
    names = [f"{i}/3 {name}" for i, name in enumerate(NAMES, 1)]
    assert list(dict.fromkeys(line.split(":")[0] for line in made.said)) == names
    assert made.asked == names


class StoppedError(Exception):
    pass


def stop(*_: Any, **__: Any) -> None:
    raise StoppedError


@pytest.mark.parametrize("layout", ["new", "first"])
def test_a_stopped_demo_has_no_page_and_leaves_none_of_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    place = tmp_path / "demo"
    if layout == "first":
        make_dataset(place / "data", patients=3, slices_per_patient=1, size=64)
        (place / "run").mkdir()
        (place / "run" / "report.html").write_text("old")
    else:
        for name in (".", "data", *NAMES):
            (place / name).mkdir(parents=True, exist_ok=True)
            (place / name / "report.html").write_text("old")
        (place / "demo.json").write_text("{}")
    (place / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        demo(place, **SMALL)
    tasks = {**module._TASKS, "organs": replace(module._TASKS["organs"], train=stop)}
    monkeypatch.setattr(module, "_TASKS", tasks)
    with pytest.raises(StoppedError):
        demo(place, **SMALL, overwrite=True)
    reports = sorted(file.relative_to(place).as_posix() for file in place.rglob("report.html"))
    assert reports == ["tissue/report.html"]
    assert (place / reports[0]).read_text("utf-8") != "old"
    assert sorted(file.name for file in place.iterdir()) == ["data", "demo.json", "notes.txt", "tissue"]


def test_overwrite_spares_what_no_demo_wrote(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no demo"):
        demo(tmp_path, **SMALL, overwrite=True)
    assert (tmp_path / "data" / "thesis.txt").read_text() == "mine"
