"""The report of a segmentation: figures with unit and rule, contours where they belong, and one safe file."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from medapps import NOTICE
from medapps.errors import InputError
from medapps.evaluate_segmentation import EMPTY_RULE, SegmentationEvaluation, evaluate_segmentation
from medapps.report import write_report
from medapps.report.overlays import COLOURS, hang_overlays
from medapps.segmentation_examples import SegmentationExamples
from tests.medapps.report.fake_run import write_json
from tests.medapps.report.fake_segmentation import CLASSES, make_segmentation_run
from tests.medapps.report.test_write import HOSTILE, parsed, words


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with all its files, and its page."""
    return write_report(make_segmentation_run(tmp_path_factory.mktemp("runs") / "whole"))


def evaluation_of(page):
    return SegmentationEvaluation.from_json((page.parent / "evaluation.json").read_text())


def test_every_figure_is_there_with_interval_n_and_unit(whole):
    shown, found = words(whole), evaluation_of(whole)
    for figures in (found.metrics, *found.per_class.values()):
        for name in ("dice", "surface_dice"):
            assert f"{figures[name].value:.3f}" in shown
            assert f"{figures[name].low:.3f} to {figures[name].high:.3f}" in shown
        for name in ("hd95", "assd"):
            assert f"{figures[name].value:.2f} mm" in shown
            assert f"{figures[name].low:.2f} to {figures[name].high:.2f}" in shown
        change = figures["volume_difference"]
        assert f"{change.value:+.3f}" in shown
        assert f"{change.low:+.3f} to {change.high:+.3f}" in shown
    assert f"Mean Dice {found.metrics['dice'].value:.3f} on 18 test cases" in shown
    assert f"n = {found.n}" in shown


def test_the_rule_for_empty_masks_stands_beside_the_counts(tmp_path, whole):
    assert EMPTY_RULE in words(whole)
    page = write_report(make_segmentation_run(tmp_path / "run", empty=(3, 5)))
    cells = [text.strip() for text in parsed(page).texts]
    found = cells.index("absent")
    numbers = [c for c in cells[found + 4 :] if re.fullmatch(r"\d+", c)][:4]
    assert numbers == ["16", "2", "0", "0"]
    assert "Distances leave out the cases where a class was missed" in words(page)


def test_notice_synthetic_banner_cost_recipe_and_digests_are_there(whole):
    shown = words(whole)
    assert shown.count(NOTICE) == 2
    assert shown.count("made by a program") == 2
    for text in ("1 min 23 s", "77,713", "rotate (degrees 10.0)", "ab" * 32, "9 of 12", "cases.csv, SHA-256"):
        assert text in shown, text
    assert "90 % 5 % 5 %" in shown  # voxels of each class


def test_pixels_are_called_pixels(tmp_path):
    page = write_report(make_segmentation_run(tmp_path / "run", spacing=None))
    shown = words(page)
    assert f"{evaluation_of(page).metrics['hd95'].value:.2f} px" in shown
    assert "at most 2 px from the other" in shown
    assert " mm " not in shown


def test_patients_are_named_where_intervals_are_over_them(tmp_path):
    page = write_report(make_segmentation_run(tmp_path / "run", groups=[f"p{i // 3}" for i in range(18)]))
    assert "The 18 judged cases are of 6 patients; intervals are over patients." in words(page)


def test_the_page_asks_for_nothing_and_runs_nothing(whole):
    text, tree = whole.read_text(), parsed(whole)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text
    assert all(address.startswith(("data:image/", "#")) for address in tree.addresses)
    names = {element[0] for element in tree.elements if isinstance(element, tuple)}
    assert not names & {"script", "iframe", "object", "embed", "link", "form", "base", "svg"}
    assert not re.search(r"https?://|url\(|@import", re.sub(r"data:image/[^\"]*", "", text))


def test_the_same_run_gives_the_same_bytes(tmp_path, whole):
    assert write_report(make_segmentation_run(tmp_path / "again")).read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("at", range(0, len(HOSTILE), 2))
def test_no_text_changes_the_tree_of_the_page(tmp_path, whole, at):
    """Each text names a class once; the others name data, recipe, cases and title meanwhile."""
    first, second, third, fourth = (HOSTILE[(at + i) % len(HOSTILE)] for i in range(4))
    run = make_segmentation_run(
        tmp_path / "run", classes=("b", f"a{first}", second), name=third, notes=fourth,
        names=[f"{first}{i}" for i in range(18)],
    )  # fmt: skip
    assert parsed(write_report(run, title=fourth)).elements == parsed(whole).elements


def test_names_of_cases_are_not_shown(whole):
    assert "case-" not in words(whole)
    assert "cases.csv, rows 2 to 3" in words(whole)  # the best case is the first one


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("evaluation.json", "This run was not judged yet: evaluation.json is missing"),
        ("examples.npz", "examples.npz is missing"),
        ("history.json", "history.json is missing"),
        ("cases.csv", "Surfaces, class by class"),
    ],
)
def test_a_missing_file_leaves_a_sentence(tmp_path, name, sentence):
    run = make_segmentation_run(tmp_path / "run")
    (run / name).unlink()
    shown = words(write_report(run))
    assert sentence in shown
    assert "Confusion matrix" not in shown  # it stays the page of a segmentation


def test_a_run_without_a_recipe_is_known_by_its_evaluation(tmp_path):
    run = make_segmentation_run(tmp_path / "run")
    (run / "recipe.json").unlink()
    shown = words(write_report(run))
    assert "Surfaces, class by class" in shown
    assert "recipe.json is missing" in shown


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[1]"])
@pytest.mark.parametrize("name", ["evaluation.json", "examples.npz"])
def test_a_damaged_file_is_named(tmp_path, name, content):
    run = make_segmentation_run(tmp_path / "run")
    (run / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(name)):
        write_report(run)


def test_the_evaluation_of_a_task_nobody_knows_is_refused(tmp_path):
    run = make_segmentation_run(tmp_path / "run")
    plain = json.loads((run / "evaluation.json").read_text())
    write_json(run / "evaluation.json", {**plain, "task": "guess"})
    with pytest.raises(InputError, match="task 'guess'"):
        write_report(run)


def test_many_classes_colour_and_a_class_nobody_has_make_a_page(tmp_path):
    classes = ("background", *(f"class {i}" for i in range(9)))
    page = write_report(make_segmentation_run(tmp_path / "run", classes=classes, channels=3, n=3, shape=(4, 16, 30)))
    assert "not defined" in words(page)


def drawn(truth, predicted, image=None):
    """The overlay of one picture as an array (H, W, 3), with the number of pixels for each pixel."""
    shape = truth.shape
    pictures = np.zeros((1, 1, *shape), np.uint8) if image is None else image
    examples = SegmentationExamples(
        pictures, truth[None], predicted[None], np.array([shape]), *(np.zeros(1, int) for _ in range(2)),
        depths=np.ones(1, int), kind=("best",),
    )  # fmt: skip
    evaluation = evaluate_segmentation([truth[None]], [predicted[None]], None, CLASSES, split="test", names=["a"])
    (wall,) = hang_overlays(examples, evaluation)
    png = Image.open(io.BytesIO(base64.b64decode(wall.cards[0].image.split(",")[1])))
    found = np.asarray(png.convert("RGB"))
    return found, len(found) // shape[0]


def rgb(name):
    return [int(COLOURS[name][i : i + 2], 16) for i in (1, 3, 5)]


def test_contours_lie_on_the_edges_and_errors_are_tinted_by_kind():
    """Left third right, then missed, too much, and another class; 40 x 40, so nothing is cut away."""
    truth, predicted = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    truth[4:36, 2:20], predicted[4:36, 2:10] = 1, 1
    predicted[4:36, 24:30] = 1
    truth[4:36, 32:38], predicted[4:36, 32:38] = 1, 2
    found, scale = drawn(truth, predicted)

    def at(row, column):
        """The middle of a pixel of the image."""
        return found[int((row + 0.5) * scale), int((column + 0.5) * scale)].tolist()

    assert at(20, 6) == [0, 0, 0]
    for column, name in ((15, "truth"), (27, "prediction"), (35, "confusion")):
        assert at(20, column) == pytest.approx([0.45 * v for v in rgb(name)], abs=1)
    row = 20 * scale + scale // 2
    assert found[row, 20 * scale].tolist() == rgb("truth")  # right edge of what was missed
    assert found[row, 30 * scale].tolist() == rgb("prediction")
    assert found[row, 2 * scale].tolist() == rgb("prediction")  # both: the thin line in the wide one
    assert found[row, 2 * scale + 1].tolist() == rgb("truth")


def test_a_small_region_in_a_large_picture_is_shown_large():
    truth = np.zeros((500, 500), np.uint8)
    truth[480:490, 240:250] = 1
    found, _ = drawn(truth, truth)
    assert found.shape == (400, 400, 3)
    blue = (found == rgb("truth")).all(2)
    assert blue.any(1).sum() > 90  # ten pixels, ten times enlarged
