"""evaluate_segmentation: means over cases that can be worked out by hand, the rule for empty masks, and its JSON."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest

from medapps import NOTICE
from medapps.errors import InputError
from medapps.evaluate import Cost
from medapps.evaluate_segmentation import (
    EMPTY_RULE,
    SegmentationEvaluation,
    cases_csv,
    evaluate_segmentation,
    segmentation_seed_table,
)
from medapps.metrics import FIGURES, Resampling
from tests.medapps.metrics.shapes import ball, blobs, box

COST = Cost(12.5, 3.0, 310.0, 77_000, 330_000, 2)
FEW = Resampling(draws=200)
SHAPE = (1, 12, 12)
SQUARE = box(SHAPE, (0, 2, 2), (1, 8, 8)).astype(np.uint8)
MOVED = box(SHAPE, (0, 2, 4), (1, 8, 10)).astype(np.uint8)
EMPTY = np.zeros(SHAPE, np.uint8)


def cases(n=12, shape=(1, 24, 20), k=3, seed=0):
    """Label maps and predictions that are right for the most part."""
    truths, predictions = [], []
    for i in range(n):
        truth = sum(blobs(shape, seed + 10 * i + c, 0.2).astype(np.uint8) * c for c in range(1, k)).clip(max=k - 1)
        wrong = np.random.default_rng(seed + i).random(shape) < 0.1
        truths.append(truth.astype(np.uint8))
        moved = np.roll(truth, i % 4, 2)  # no two cases are equally good
        predictions.append(np.where(wrong, (truth + 1) % k, moved).astype(np.uint8))
    return truths, predictions


def evaluated(n=12, k=3, **changes):
    truths, predictions = cases(n, k=k, seed=changes.pop("seed", 0))
    given = {
        "spacings": [(None, 0.5, 0.5)] * n, "classes": ["background", "liver", "vessel", "tumour"][:k], "split": "test",
        "names": [f"case {i}" for i in range(n)], "cost": COST, "tolerance": 0.5, "resampling": FEW, **changes,
    }  # fmt: skip
    return evaluate_segmentation(truths, predictions, given.pop("spacings"), given.pop("classes"), **given)


def two_classes(truths, predictions, spacings=None, **changes):
    names = [f"c{i}" for i in range(len(truths))]
    return evaluate_segmentation(
        truths, predictions, spacings, ["background", "lung"], split="test", names=names, **changes
    )


@pytest.mark.parametrize("groups", [None, [f"p{i // 3}" for i in range(12)]])
def test_every_figure_has_an_interval_an_n_and_a_method(groups):
    found = evaluated(groups=groups)
    assert tuple(found.metrics) == FIGURES
    assert list(found.per_class) == ["liver", "vessel"]
    for figures in [found.metrics, *found.per_class.values()]:
        assert tuple(figures) == FIGURES
        # No voxel is invented here, so precision is 1 in every draw and has no interval.
        for name in set(FIGURES) - {"precision"}:
            figure = figures[name]
            assert figure.low <= figure.value <= figure.high, name
            assert figure.n == 12
            assert f"{12 if groups is None else 4} {'cases' if groups is None else 'groups'}" in figure.method
    assert (found.n, found.groups) == (12, 12 if groups is None else 4)


def test_a_mean_gives_each_case_and_each_class_the_same_weight():
    found = evaluated()
    for i, name in enumerate(("liver", "vessel")):
        wanted = np.mean([case.regions[i].overlap.dice for case in found.cases])
        assert found.per_class[name]["dice"].value == pytest.approx(wanted)
    assert found.metrics["dice"].value == pytest.approx(np.mean([f["dice"].value for f in found.per_class.values()]))


def test_the_interval_over_groups_is_that_of_drawing_whole_groups():
    """Against a plain bootstrap written out, with another generator: ends agree within the error of the draws."""
    groups = [f"p{i // 3}" for i in range(12)]
    found = evaluated(groups=groups, k=2, resampling=Resampling(4000))
    dice = np.array([case.regions[0].overlap.dice for case in found.cases]).reshape(4, 3)
    rng = np.random.default_rng(9)
    means = [dice[rng.integers(4, size=4)].mean() for _ in range(4000)]
    spread = np.std(means)
    figure = found.metrics["dice"]
    assert (figure.low, figure.high) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.15 * spread)


def test_figures_of_a_square_moved_by_a_third():
    found = two_classes([SQUARE], [MOVED], [(None, 0.5, 0.5)]).metrics
    assert found["dice"].value == pytest.approx(2 / 3)
    assert found["iou"].value == pytest.approx(0.5)
    assert found["hd95"].value == pytest.approx(1.0)  # two pixels of 0.5 mm
    assert found["volume_difference"].value == 0.0


def test_empty_masks_count_as_the_rule_says():
    """Found, missed, false alarm, absent: Dice is over the first three, distances over the first."""
    found = two_classes([SQUARE, SQUARE, EMPTY, EMPTY], [MOVED, EMPTY, SQUARE, EMPTY])
    lung = found.per_class["lung"]
    assert (lung["dice"].value, lung["dice"].n) == (pytest.approx(2 / 9), 3)
    assert (lung["surface_dice"].n, lung["iou"].n) == (3, 3)
    assert (lung["hd95"].value, lung["hd95"].n) == (2.0, 1)
    assert (lung["sensitivity"].value, lung["sensitivity"].n) == (pytest.approx(1 / 3), 2)
    assert (lung["precision"].value, lung["precision"].n) == (pytest.approx(1 / 3), 2)
    assert (lung["volume_difference"].value, lung["volume_difference"].n) == (-0.5, 2)
    assert found.outcomes() == {"lung": {"found": 1, "missed": 1, "false alarm": 1, "absent": 1}}
    assert found.n == 4
    plain = json.loads(found.to_json())["empty_masks"]
    assert plain["rule"] == EMPTY_RULE
    assert plain["outcomes"] == found.outcomes()


def test_a_class_that_no_case_has_leaves_the_mean_undefined_and_says_which():
    truth = [SQUARE, SQUARE]
    found = evaluate_segmentation(truth, truth, None, ["background", "lung", "node"], split="test", names=["a", "b"])
    assert not found.metrics["dice"].is_defined
    assert found.metrics["dice"].method == "no case has this figure for node"
    assert found.per_class["lung"]["dice"].value == 1.0
    assert found.per_class["node"]["dice"].n == 0


def test_one_case_has_no_interval():
    figure = two_classes([SQUARE], [MOVED]).metrics["dice"]
    assert (figure.has_interval, figure.method) == (False, "no interval: all draws agree")


@pytest.mark.parametrize(
    ("spacings", "unit", "hd95"),
    [
        (None, "px", 2.0),
        ([None, None], "px", 2.0),
        ([(1.0, 3.0, 3.0), None], "px", 2.0),  # never millimetres mixed with pixels
        ([(None, 3.0, 3.0), (1.0, 3.0, 3.0)], "mm", 6.0),
    ],
)
def test_distances_are_in_millimetres_only_where_all_spacings_are_known(spacings, unit, hd95):
    found = two_classes([SQUARE, SQUARE], [MOVED, MOVED], spacings)
    assert (found.unit, found.metrics["hd95"].value) == (unit, hd95)


def test_each_class_has_a_surface_of_its_own():
    left, right = box((1, 8, 30), (0, 2, 2), (1, 6, 9)), box((1, 8, 30), (0, 2, 12), (1, 6, 19))
    truth, prediction = left + 2 * right, left + 2 * np.roll(right, 3, 2)
    names = ["background", "left", "right"]
    found = evaluate_segmentation(
        [truth.astype(np.uint8)], [prediction.astype(np.uint8)], None, names, split="test", names=["a"]
    )
    assert [found.per_class[name]["hd95"].value for name in names[1:]] == [0.0, 3.0]


def test_a_volume_whose_slices_are_at_an_unknown_distance_is_measured_in_pixels():
    truth = np.zeros((4, 6, 6), np.uint8)
    truth[1:3, 2:4, 2:4] = 1
    assert two_classes([truth], [truth], [(None, 0.5, 0.5)]).unit == "px"


@pytest.mark.parametrize("cost", [None, COST, Cost(1.0, math.nan, math.nan, 3, 4, 5)])
@pytest.mark.parametrize("k", [2, 4])
def test_json_gives_the_evaluation_back(cost, k):
    found = evaluated(cost=cost, k=k)
    text = found.to_json()
    assert NOTICE in text
    assert "NaN" not in text
    again = SegmentationEvaluation.from_json(text)
    assert again.to_json() == text
    assert cases_csv(again) == cases_csv(found)


def test_json_keeps_what_is_not_defined():
    found = two_classes([SQUARE, EMPTY], [EMPTY, EMPTY])
    again = SegmentationEvaluation.from_json(found.to_json())
    assert math.isnan(again.cases[0].regions[0].hd95)
    assert math.isnan(again.cases[1].dice)
    assert again.outcomes() == found.outcomes()


def broken_texts():
    good = json.loads(evaluated().to_json())
    yield "", "not JSON"
    yield "[]", "not what medapps writes"
    yield "[" * 100_000, "not JSON"
    for key in good:
        if key != "notice":
            yield json.dumps({k: v for k, v in good.items() if k != key}), f"'{key}' is missing"
    yield json.dumps({**good, "task": "classify"}), "is of the task 'classify', not 'segment'"
    yield json.dumps({**good, "n": 7}), "do not fit together"
    yield json.dumps({**good, "groups": 13}), "do not fit together"
    yield json.dumps({**good, "classes": ["background", "liver"]}), "must hold the regions liver"
    yield json.dumps({**good, "unit": "<b>"}), "unit must be mm or px"
    yield json.dumps({**good, "metrics": {"dice": 0.5}}), "figures must be dice"
    yield json.dumps({**good, "cost": {"seconds": 1}}), "cost: must hold"
    for key, value, message in (
        ("both", -1, "whole numbers"), ("both", 0.5, "whole numbers"), ("hd95", "x", "numbers from 0"),
        ("both", 0, "empty_masks and cases"), ("surface_dice", -0.5, "numbers from 0"),
    ):  # fmt: skip
        case = json.loads(json.dumps(good["cases"][0]))
        case["regions"]["liver"][key] = value
        if message == "empty_masks and cases":
            case["regions"]["liver"]["extra"] = 0
        yield json.dumps({**good, "cases": [case, *good["cases"][1:]]}), message


@pytest.mark.parametrize(
    ("text", "message"), list(broken_texts()), ids=lambda v: v[:30] if isinstance(v, str) else None
)
def test_a_damaged_evaluation_is_named(text, message):
    with pytest.raises(InputError, match=message) as raised:
        SegmentationEvaluation.from_json(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 0}, "no cases"),
        ({"names": ["a"]}, "names: must be 12"),
        ({"groups": ["a"]}, "one group for each of the 12 cases"),
        ({"spacings": [None]}, "spacings: must be 12"),
        ({"classes": ["background"]}, "classes: must be different names"),
        ({"classes": ["background", "a", "a"]}, "classes: must be different names"),
        ({"classes": ["background", "liver"]}, "case 0: truth: must hold 0 to 1 for 2 classes"),
        ({"spacings": [(1.0, 0.0, 1.0)] * 12}, "case 0: spacing"),
        ({"tolerance": -1.0}, "tolerance"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(InputError, match=message):
        evaluated(**changes)


def test_cases_csv_has_a_row_for_each_class_of_each_case():
    found = two_classes([SQUARE, SQUARE], [MOVED, EMPTY], groups=["=1+1", "p"])
    rows = list(csv.DictReader(cases_csv(found).splitlines()))
    assert [row["outcome"] for row in rows] == ["found", "missed"]
    assert float(rows[0]["dice"]) == pytest.approx(2 / 3, abs=1e-6)
    assert (rows[0]["hd95 (px)"], rows[1]["hd95 (px)"]) == ("2.000000", "")
    assert rows[1]["volume_difference"] == "-1.000000"
    assert (rows[1]["true voxels"], rows[1]["predicted voxels"]) == ("36", "0")
    assert rows[0]["group"] == "'=1+1"  # no formula in a spreadsheet
    assert rows[0]["notice"] == NOTICE


def test_the_table_over_seeds_takes_distances_that_rest_on_different_cases():
    full = two_classes([SQUARE, SQUARE], [MOVED, SQUARE])
    less = two_classes([SQUARE, SQUARE], [MOVED, EMPTY])
    rows = {row.name: row for row in segmentation_seed_table([full, less])}
    assert (rows["hd95"].mean, rows["hd95"].n, rows["dice"].n) == (1.5, 1, 2)
    with pytest.raises(InputError, match="same split, classes and cases"):
        segmentation_seed_table([full, two_classes([SQUARE], [MOVED])])


def test_volumes_are_measured_in_their_spacing():
    shape, spacing = (40, 40, 40), (2.0, 1.0, 1.0)
    truth = ball(shape, spacing, 15.0).astype(np.uint8) + ball(shape, spacing, 8.0)
    for axis, step in enumerate(spacing):
        found = evaluate_segmentation(
            [truth], [np.roll(truth, 1, axis)], [spacing], ["background", "shell", "core"], split="test", names=["a"]
        )
        assert found.metrics["hd95"].value == pytest.approx(step)
