"""evaluate_classifier puts the figures together; what it writes can be read back, and nothing else can."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from medapps import NOTICE
from medapps.errors import InputError
from medapps.evaluate import Cost, Evaluation, evaluate_classifier, peak_memory_mb, seed_table
from medapps.metrics import Resampling
from tests.medapps.metrics.draws import predictions, two_columns

COST = Cost(12.5, 800.0, 310.0, 77_000, 330_000, 2)
FEW = Resampling(draws=200)
FIGURES = ["auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "brier", "calibration_error"]


def evaluated(k=3, **changes):
    probabilities, labels = predictions(k=k)
    names = ["normal", "tumour", "vessel", "heart"][:k]
    return evaluate_classifier(
        probabilities, labels, names, **{"split": "test", "cost": COST, "resampling": FEW, **changes}
    )


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("groups", [None, [f"p{i // 4}" for i in range(120)]])
def test_every_figure_has_an_interval_an_n_and_a_method(k, groups):
    found = evaluated(k, groups=groups)
    assert list(found.metrics) == FIGURES
    for figure in [*found.metrics.values(), *(f for each in found.per_class.values() for f in each.values())]:
        assert figure.low <= figure.value <= figure.high
        assert figure.n > 0
        assert figure.method
    assert found.groups == (120 if groups is None else 30)
    assert found.confusion.sum() == found.n == 120


def test_with_two_classes_the_second_one_is_positive():
    probabilities = two_columns([0.9, 0.9, 0.9, 0.1, 0.1, 0.9])
    found = evaluate_classifier(probabilities, [1, 1, 1, 1, 0, 0], ["healthy", "ill"], split="test")
    assert (found.metrics["sensitivity"].value, found.metrics["sensitivity"].n) == (0.75, 4)
    assert (found.metrics["specificity"].value, found.metrics["specificity"].n) == (0.5, 2)
    assert found.per_class["healthy"]["sensitivity"].value == 0.5
    assert found.metrics["auc"] == found.per_class["ill"]["auc"]


def test_with_more_classes_sensitivity_is_the_mean_over_them():
    found = evaluated(3)
    each = [f["specificity"].value for f in found.per_class.values()]
    assert found.metrics["sensitivity"].value == found.metrics["balanced_accuracy"].value
    assert found.metrics["specificity"].value == pytest.approx(np.mean(each))


@pytest.mark.parametrize("cost", [None, COST, Cost(1.0, 2.0, math.nan, 3, 4, 5)])
def test_json_gives_the_evaluation_back(cost):
    found = evaluated(cost=cost)
    text = found.to_json()
    assert NOTICE in text
    assert "NaN" not in text
    assert Evaluation.from_json(text).to_json() == text


def test_a_file_that_does_not_tell_its_task_is_read():
    text = evaluated().to_json()
    plain = json.loads(text)
    assert plain.pop("task") == "classify"
    assert Evaluation.from_json(json.dumps(plain)).to_json() == text


def test_the_same_input_gives_the_same_bytes():
    assert evaluated().to_json() == evaluated().to_json()


def test_what_is_not_defined_is_null_in_json():
    found = evaluate_classifier(two_columns([0.2, 0.9]), [1, 1], ["a", "b"], split="test")
    plain = json.loads(found.to_json())
    assert plain["metrics"]["auc"]["value"] is None
    assert plain["metrics"]["auc"]["method"] == "all cases are of class 1"
    assert not Evaluation.from_json(found.to_json()).metrics["auc"].is_defined


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"], ["a", "a"]])
def test_class_names_that_do_not_fit_are_refused(names):
    with pytest.raises(InputError, match="must be 2 different names"):
        evaluate_classifier(two_columns([0.2, 0.9]), [0, 1], names, split="test")


def broken_texts():
    good = json.loads(evaluated().to_json())
    yield "", "not JSON"
    yield "[]", "not what medapps writes"
    yield "[" * 100_000, "not JSON"
    for key in good:
        if key not in ("notice", "task"):
            yield json.dumps({k: v for k, v in good.items() if k != key}), f"'{key}' is missing"
    yield json.dumps({**good, "task": "segment"}), "is of the task 'segment', not 'classify'"
    yield json.dumps({**good, "n": 7}), "do not fit together"
    yield json.dumps({**good, "classes": ["a", "b", "c"]}), "do not fit together"
    yield json.dumps({**good, "confusion": [[1, 2], [3, 4]]}), "3 x 3 table"
    yield json.dumps({**good, "confusion": "x"}), "3 x 3 table"
    yield json.dumps({**good, "metrics": {"auc": 0.5}}), "an estimate must be"
    yield json.dumps({**good, "cost": {"seconds": 1}}), "cost: must hold"
    yield json.dumps({**good, "cost": {**good["cost"], "threads": "<b>"}}), "cost: threads"


@pytest.mark.parametrize(
    ("text", "message"), list(broken_texts()), ids=lambda v: v[:30] if isinstance(v, str) else None
)
def test_a_damaged_evaluation_is_named(text, message):
    with pytest.raises(InputError, match=message) as raised:
        Evaluation.from_json(text)
    assert "\n" not in str(raised.value)


def test_the_table_over_seeds_refuses_other_cases():
    assert [row.name for row in seed_table([evaluated(), evaluated()])] == FIGURES
    with pytest.raises(InputError, match="same split, classes and cases"):
        seed_table([evaluated(), evaluated(split="val")])


def test_peak_memory_is_at_least_what_is_held():
    """NumPy alone needs 20 MB; 64 GB would mean kilobytes were taken for bytes."""
    held = np.ones(10_000_000)  # 80 MB
    assert 80 < peak_memory_mb() < 64_000
    assert held[0] == 1
