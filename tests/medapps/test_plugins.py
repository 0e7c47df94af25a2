"""Plug-ins: the example is installed by pip and trained with by name; a broken or missing one gives one sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minidl
from medapps.apps.doctor import doctor
from medapps.errors import InputError
from medapps.evaluate import evaluate_classifier
from medapps.fit import fit
from medapps.inference import Card, Classifier, load_model, save_model
from medapps.metrics import OWN_FIGURES, check_predictions, figure_estimate
from medapps.models import build_model
from medapps.plugins import installed_plugins
from medapps.recipe import Recipe
from medapps.transforms import Compose, transform_from_dict
from minidl import nn
from minidl.nn.budget import weights_at_most
from tests.medapps.small_data import small_data
from tests.medapps.small_masks import small_masks

ROOT = Path(__file__).resolve().parents[2]
RECIPE = {
    "model": "tiny_cnn", "options": {"hidden": 6}, "augment": [{"name": "flip"}, {"name": "noise", "strength": 0.2}],
    "views": [{"name": "noise", "params": {"sd": 0.1, "seed": 1}}], "metrics": ["macro_f1", "auc"], "epochs": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the example, without a network."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(ROOT / "docs" / "examples" / "medapps_plugin", folder / "source")
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
            "--disable-pip-version-check", "--target", folder / "site", folder / "source",
        ],
        check=True,
    )  # fmt: skip
    return folder / "site"


def medapps(*arguments: str | Path, path: Path | None) -> subprocess.CompletedProcess[str]:
    """`medapps ...` in a process of its own that finds packages at `path`."""
    paths = os.pathsep.join(str(p) for p in (ROOT, path) if p)
    return subprocess.run(
        [sys.executable, "-m", "medapps", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def trained(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that used the example by its names."""
    folder = tmp_path_factory.mktemp("trained")
    arrays = {}
    for name, split in small_data(n=24).splits():
        arrays |= {f"{name}_images": split.images[:, 0], f"{name}_labels": split.labels[:, None]}
    np.savez(folder / "small.npz", **arrays)
    (folder / "recipe.json").write_text(json.dumps(RECIPE))
    done = medapps(
        "train", "classify", folder / "small.npz", "--recipe", folder / "recipe.json", "-o", folder / "run", path=site
    )
    assert done.returncode == 0, done.stderr
    assert "macro f1" in done.stdout
    return folder / "run"


def test_the_installed_example_trains_by_name(trained: Path) -> None:
    found = json.loads((trained / "evaluation.json").read_text())["metrics"]
    assert set(found) == {*OWN_FIGURES, "macro_f1"}
    assert found["macro_f1"]["method"].startswith("bootstrap, 2000 draws of 12 cases")
    assert "Macro f1" in (trained / "report.html").read_text()


def test_its_model_file_predicts_where_it_is_installed(trained: Path, site: Path) -> None:
    data = trained.parent / "small.npz"
    assert medapps("predict", data, "-m", trained, path=site).returncode == 0


def test_without_the_plugin_its_model_file_says_what_to_do(trained: Path) -> None:
    done = medapps("predict", trained.parent / "small.npz", "-m", trained, path=None)
    assert done.returncode == 2
    assert "model: 'tiny_cnn' is not known" in done.stderr
    assert "install that plug-in" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_doctor_lists_what_is_installed(site: Path) -> None:
    shown = medapps("doctor", path=site).stdout
    for name in ("transform noise", "model tiny_cnn", "metric macro_f1"):
        assert f"{name}" in shown
    assert "by the plug-in medapps-example 0.1.0" in shown
    assert doctor()["plug-ins"] == "none"


@pytest.fixture
def example(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example, installed for this process."""
    monkeypatch.syspath_prepend(site)


@pytest.mark.usefixtures("example")
def test_the_example_is_right() -> None:
    from medapps_example import macro_f1
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    p, labels = rng.dirichlet(np.ones(3), 40), rng.integers(0, 3, 40)
    assert macro_f1(p, labels) == pytest.approx(f1_score(labels, p.argmax(1), average="macro"), abs=1e-12)
    noise = transform_from_dict({"name": "noise", "strength": 0.5})
    image = rng.normal(0, 2, (1, 200, 200))
    added = noise.apply(image, noise.params(rng, image)) - image  # type: ignore[attr-defined]
    assert added.std() == pytest.approx(1.0, rel=0.02)  # 40 000 draws: 6 standard errors of 0.35 %
    assert build_model({"name": "tiny_cnn", "in_channels": 1, "classes": 2})(minidl.zeros(3, 1, 9, 9)).shape == (3, 2)


@pytest.mark.usefixtures("example")
def test_the_interval_of_a_figure_is_the_bootstraps_over_groups() -> None:
    """For a mean over cases, the draws can be written down without the function."""
    rng = np.random.default_rng(1)
    score = rng.random(60)
    p = check_predictions(np.stack([1 - score, score], 1), rng.integers(0, 2, 60), np.repeat(np.arange(20), 3))
    found = figure_estimate("mean", lambda q, _: float(q[:, 1].mean()), p)
    means = score.reshape(20, 3).mean(1)
    draws = means[np.random.default_rng(2).integers(0, 20, (20_000, 20))].mean(1)
    # Two bootstraps with other draws: the 2.5 % point of 2000 draws has a standard error of about 6 % of a sd.
    assert [found.low, found.high] == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.25 * draws.std())
    assert found.value == pytest.approx(score.mean(), abs=1e-12)


def test_a_figure_that_fails_is_undefined_and_says_why() -> None:
    def broken(probabilities: object, labels: object) -> float:
        raise KeyError("threshold")

    p = check_predictions([[0.2, 0.8], [0.7, 0.3]], [1, 0])
    assert "broken failed: KeyError: 'threshold'" in figure_estimate("broken", broken, p).method
    assert not figure_estimate("nan", lambda *_: float("nan"), p).is_defined


def test_our_own_figures_are_the_ones_listed() -> None:
    found = evaluate_classifier([[0.2, 0.8], [0.7, 0.3]], [1, 0], ["a", "b"], split="test", metrics=["auc"])
    assert tuple(found.metrics) == OWN_FIGURES


def offer(folder: Path, monkeypatch: pytest.MonkeyPatch, package: str, points: dict[str, str], code: str = "") -> None:
    """Install a package that offers `points`, such as {"model tiny": "module:Thing"}, for this process."""
    info = folder / f"{package}-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 2.0\n")
    groups: dict[str, list[str]] = {}
    for point, target in points.items():
        kind, name = point.split()
        groups.setdefault(f"[medapps.{kind}s]", []).append(f"{name} = {target}")
    (info / "entry_points.txt").write_text("\n".join("\n".join([head, *rows]) for head, rows in groups.items()))
    (folder / f"{package}.py").write_text(code)
    monkeypatch.syspath_prepend(folder)


def test_a_plugin_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path, monkeypatch, "broken_one", {"model lost": "broken_one:Lost"}, "import not_there_at_all")
    assert [p.name for p in installed_plugins()] == ["lost"]  # listing imports nothing
    with pytest.raises(
        InputError, match=r"^model 'lost' of the plug-in broken_one 2\.0: cannot be loaded; .*not_there"
    ):
        build_model({"name": "lost", "in_channels": 1, "classes": 2})


def test_a_model_that_cannot_be_built_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "def fails(**_):\n    raise KeyError('depth')\ndef odd(**_):\n    return 3\n"
    offer(tmp_path, monkeypatch, "broken_two", {"model fails": "broken_two:fails", "model odd": "broken_two:odd"}, code)
    with pytest.raises(InputError, match=r"broken_two 2\.0: cannot be built from .*KeyError: 'depth'"):
        build_model({"name": "fails", "in_channels": 1})
    with pytest.raises(InputError, match=r"must make a minidl\.nn\.Module, made int"):
        build_model({"name": "odd"})


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def bent(): ...", "must be a dataclass made from"),
        (
            "from dataclasses import dataclass\nfrom medapps.transforms import Augmentation\n"
            "@dataclass(frozen=True)\nclass bent(Augmentation):\n    name = 'straight'\n",
            "calls itself 'straight'",
        ),
    ],
)
def test_a_transform_of_the_wrong_kind_is_named(
    code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "broken_three", raising=False)
    offer(tmp_path, monkeypatch, "broken_three", {"transform bent": "broken_three:bent"}, code)
    with pytest.raises(InputError, match=message):
        Compose.from_list([{"name": "bent"}])


def test_a_name_of_two_packages_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("first_one", "second_one"):
        offer(tmp_path / package, monkeypatch, package, {"model twin": f"{package}:Twin"})
    with pytest.raises(InputError, match=r"brought by first_one 2\.0 and second_one 2\.0; uninstall"):
        build_model({"name": "twin"})


def test_a_name_of_our_own_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path, monkeypatch, "greedy", {"transform flip": "greedy:Nothing", "metric auc": "greedy:nothing"})
    assert type(transform_from_dict({"name": "flip"})).__module__ == "medapps.transforms.flip"


@pytest.mark.parametrize("name", [None, 3, ["flip"], {"a": 1}, "nowhere"])
def test_what_is_no_known_name_is_refused(name: object) -> None:
    with pytest.raises(InputError, match="no transform is called"):
        transform_from_dict({"name": name})
    with pytest.raises(InputError, match="is not known"):
        build_model({"name": name})


def test_a_metric_that_is_not_there_is_told_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"metric: 'f7' is not known; .* install that plug-in"):
        fit(Recipe(metrics=("f7",), epochs=1), small_data(), tmp_path / "run")
    with pytest.raises(InputError, match="a segmentation has figures of its own"):
        fit(Recipe(task="segment", metrics=("f7",)), small_masks(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("example")
@pytest.mark.parametrize("hidden", [20, 10**5, 10**9])
def test_a_file_cannot_ask_a_plugin_for_more_weights_than_it_holds(hidden: int, tmp_path: Path) -> None:
    made = {"name": "tiny_cnn", "in_channels": 1, "classes": 2, "hidden": 6}
    card = Card({**made, "hidden": hidden}, (), (1, 9, 9), ("a", "b"))
    file = save_model(tmp_path / "model.safetensors", Classifier(build_model(made), card))
    with pytest.raises(InputError, match=r"medapps-example 0\.1\.0: cannot be built .*(allowed are left|Memory)"):
        load_model(file)


def test_weights_are_counted_while_the_limit_holds() -> None:
    with weights_at_most(110):
        nn.Linear(10, 10)
    with weights_at_most(109), pytest.raises(ValueError, match="needs 10 weights, and 9 of the 109"):
        nn.Linear(10, 10)
    nn.Linear(100, 100)
