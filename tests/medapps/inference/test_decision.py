"""The decision: chosen from validation cases, kept as plain data, and applied the same way ever after."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medapps.errors import InputError
from medapps.inference import REFERRED, Card, Decision, DecisionRules, check_rules, choose_decision
from tests.medapps.metrics.draws import predictions

CLASSES = ("bacteria", "normal", "virus")
P, LABELS = predictions(n=240, k=3)
GROUPS = [f"p{i // 6}-{i % 3}" for i in range(240)]  # two images of one class each


def test_it_is_chosen_on_patients_not_on_images():
    found = choose_decision(P, LABELS, GROUPS, CLASSES, DecisionRules())
    twice = choose_decision(np.repeat(P, 3, 0), np.repeat(LABELS, 3), np.repeat(GROUPS, 3), CLASSES, DecisionRules())
    for name, value in found.to_dict().items():
        assert twice.to_dict()[name] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value), name
    assert found.healthy == "normal"
    assert found.threshold_rule == "Youden"
    assert found.referral_rule == "accuracy of 0.9 among the kept"


def test_the_required_sensitivity_and_a_fixed_confidence_are_kept_to():
    rules = DecisionRules(pooling="max", sensitivity=0.97, refer_below=0.4)
    found = choose_decision(P, LABELS, GROUPS, CLASSES, rules)
    cases = np.arange(0, 240)
    index = np.array([(i // 6) * 3 + i % 3 for i in cases])
    p = found.calibrated(found.pooled(P, index))
    truth = np.arange(120) % 3
    scores = found.diseased(p, CLASSES)
    assert (scores >= found.threshold)[truth != 1].mean() >= 0.97
    higher = np.sort(scores[(scores >= found.threshold) & (truth != 1)])[1]
    assert (scores >= higher)[truth != 1].mean() < 0.97  # one diseased patient fewer is too few
    assert (found.refer_below, found.referral_rule, found.pooling) == (0.4, "fixed", "max")


@pytest.mark.parametrize(
    ("classes", "healthy", "found"),
    [
        (("flu", "Healthy"), None, "Healthy"),
        (("left", "right"), None, "left"),
        (("a", "b", "c"), None, None),
        (("a", "b", "c"), "c", "c"),
    ],
)
def test_the_healthy_class_is_named_or_known_by_its_name(classes, healthy, found):
    p, labels = predictions(n=60, k=len(classes))
    decision = choose_decision(p, labels, [str(i) for i in range(60)], classes, DecisionRules(healthy=healthy))
    assert decision.healthy == found
    assert (decision.threshold is None) == (found is None)


def test_verdicts_in_words():
    p = np.array([[0.1, 0.85, 0.05], [0.5, 0.2, 0.3], [0.3, 0.4, 0.3], [0.05, 0.05, 0.9]])
    decision = Decision(healthy="normal", threshold=0.5, threshold_rule="Youden", refer_below=0.45)
    assert decision.verdicts(p, CLASSES) == ("normal", "not normal", REFERRED, "not normal")
    assert replace(decision, refer_below=0.85).verdicts(p, CLASSES)[0] == REFERRED  # not above is not enough
    assert Decision().verdicts(p, CLASSES) == ("normal", "bacteria", "normal", "virus")
    two = replace(decision, healthy="no", refer_below=0.0)
    assert two.verdicts(np.array([[0.4, 0.6]]), ("no", "flu")) == ("flu",)


def test_a_decision_survives_being_written():
    found = choose_decision(P, LABELS, GROUPS, CLASSES, DecisionRules())
    assert Decision.from_dict(found.to_dict(), CLASSES) == found


GOOD = Decision(healthy="normal", threshold=0.4, threshold_rule="Youden").to_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pooling": "median"}, "pooling must be one of"),
        ({"pooling": ["mean"]}, "pooling must be one of"),
        ({"temperature": 0}, "temperature must be a positive number"),
        ({"temperature": float("inf")}, "temperature must be a positive number"),
        ({"threshold": 1.5}, "threshold must be a number from 0 to 1"),
        ({"threshold": None}, "healthy and threshold belong together"),
        ({"healthy": "cat"}, "healthy must be one of bacteria, normal, virus, got 'cat'"),
        ({"refer_below": True}, "refer_below must be a number from 0 to 1"),
        ({"referral_rule": ""}, "referral_rule must be a text"),
        ({"more": 1}, "decision: must hold"),
    ],
)
def test_a_damaged_decision_is_one_sentence(change, message):
    with pytest.raises(InputError, match=message):
        Decision.from_dict({**GOOD, **change}, CLASSES)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (DecisionRules(pooling="median"), "pooling: 'median' is not known"),
        (DecisionRules(healthy="cat"), "healthy: 'cat' is no class of the data; known are bacteria, normal, virus"),
        (DecisionRules(sensitivity=0.0), "sensitivity: must be above 0"),
        (DecisionRules(kept_accuracy=1.1), "kept accuracy: must be above 0"),
        (DecisionRules(refer_below=-0.1), "refer below: must be from 0 to 1"),
    ],
)
def test_rules_that_nothing_can_meet_are_refused(rules, message):
    with pytest.raises(InputError, match=message):
        check_rules(rules, CLASSES)


def test_a_card_carries_the_decision_and_checks_it():
    card = Card({"name": "residual_cnn"}, (), (1, 8, 8), CLASSES, decision=GOOD)
    assert Card.from_dict(card.to_dict()).decision == GOOD
    assert "decision" not in Card({"name": "residual_cnn"}, (), (1, 8, 8), CLASSES).to_dict()
    with pytest.raises(InputError, match="healthy must be one of"):
        Card.from_dict({**card.to_dict(), "decision": {**GOOD, "healthy": "cat"}})
