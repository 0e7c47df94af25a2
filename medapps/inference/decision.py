"""Decision: how probabilities of images become one decision about a patient. Chosen on the validation split alone.

Images are pooled first, then the temperature is applied, since pooling itself changes how sure the model is (Rahaman
and Thiery, NeurIPS 2021, section 4). The operating point and the referral look at the calibrated probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.inference.pooling import POOLINGS, gather_cases, pool
from medapps.metrics import (
    check_predictions,
    fit_temperature,
    referral_threshold,
    sensitivity_threshold,
    with_temperature,
    youden_threshold,
)

__all__ = ["HEALTHY", "REFERRED", "Decision", "DecisionRules", "check_rules", "choose_decision"]

REFERRED = "refer to a human"
HEALTHY = ("normal", "none", "healthy", "no finding", "negative", "control")  # names of a class without disease
Table = NDArray[np.float64]


@dataclass(frozen=True)
class DecisionRules:
    """What a decision is asked to be; `choose_decision` finds the numbers.

    pooling: a name in `POOLINGS`.
    healthy: the class that all others are told from. None: a class with a usual name, such as "normal"; without one,
        and with two classes, the first.
    sensitivity: share of the diseased to find at least; None weighs sensitivity and specificity alike (Youden).
    kept_accuracy: share of right calls wanted among the patients who are not referred.
    refer_below: a fixed confidence instead of `kept_accuracy`; 0 refers nobody.
    """

    pooling: str = "mean"
    healthy: str | None = None
    sensitivity: float | None = None
    kept_accuracy: float = 0.9
    refer_below: float | None = None


@dataclass(frozen=True)
class Decision:
    """What turns images into a decision; plain data of the model card.

    pooling: a name in `POOLINGS`. temperature: divides the logarithms of the pooled probabilities.
    healthy: the class that all others are told from, or None. threshold: from this probability of "not healthy" up a
        patient is called so; None without `healthy`. threshold_rule: how it was chosen.
    refer_below: patients whose highest probability is not above it are left to a human; 0 for none, 1 for all.
    referral_rule: how it was chosen.
    """

    pooling: str = "mean"
    temperature: float = 1.0
    healthy: str | None = None
    threshold: float | None = None
    threshold_rule: str = "none"
    refer_below: float = 0.0
    referral_rule: str = "none"

    def __post_init__(self) -> None:
        for name, (test, need) in _RULES.items():
            if not test(getattr(self, name)):
                raise InputError(f"decision: {name} must be {need}, got {str(getattr(self, name))[:60]!r}")
        if (self.healthy is None) != (self.threshold is None):
            raise InputError("decision: healthy and threshold belong together; give both or none")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any, classes: Sequence[str]) -> Decision:
        """The decision that `to_dict` wrote, for a model of these classes.

        Raises:
            InputError: one sentence that names the field at fault.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(values, Mapping) or set(values) != names:
            raise InputError(f"decision: must hold {', '.join(sorted(names))}")
        found = cls(**values)
        if found.healthy is not None and found.healthy not in classes:
            raise InputError(f"decision: healthy must be one of {', '.join(classes)}, got {found.healthy!r}")
        return found

    def pooled(self, probabilities: Table, index: NDArray[np.int64]) -> Table:
        """(P, K) before the temperature, from those of the images, (N, K), and the case of each, (N,)."""
        return pool(probabilities, index, self.pooling)

    def calibrated(self, pooled: Table) -> Table:
        """(P, K) with the temperature."""
        return with_temperature(pooled, self.temperature)

    def diseased(self, calibrated: Table, classes: Sequence[str]) -> Table:
        """(P,), the probability of "not healthy"."""
        if self.healthy is None:
            raise InputError("decision: no class was named healthy, so there is no probability of disease")
        return np.asarray(1 - calibrated[:, list(classes).index(self.healthy)])

    def verdicts(self, calibrated: Table, classes: Sequence[str]) -> tuple[str, ...]:
        """P decisions in words: "refer to a human", else healthy or not, or without `healthy` the class."""
        kept = calibrated.max(1) > self.refer_below
        if self.healthy is None or self.threshold is None:
            words = [classes[k] for k in calibrated.argmax(1)]
        else:
            ill = self.diseased(calibrated, classes) >= self.threshold
            words = [self.disease(classes) if i else self.healthy for i in ill]
        return tuple(word if k else REFERRED for word, k in zip(words, kept, strict=True))

    def disease(self, classes: Sequence[str]) -> str:
        """What the classes other than `healthy` are called together."""
        others = [name for name in classes if name != self.healthy]
        return others[0] if len(others) == 1 else f"not {self.healthy}"


def check_rules(rules: DecisionRules, classes: Sequence[str]) -> None:
    """Refuse rules that no data could meet, before anything is trained.

    Raises:
        InputError: one sentence that names the rule.
    """
    if rules.pooling not in POOLINGS:
        raise InputError(f"pooling: {rules.pooling!r} is not known; known are {', '.join(POOLINGS)}")
    if rules.healthy is not None and rules.healthy not in classes:
        raise InputError(f"healthy: {rules.healthy!r} is no class of the data; known are {', '.join(classes)}")
    for name, value in (("sensitivity", rules.sensitivity), ("kept accuracy", rules.kept_accuracy)):
        if value is not None and not 0 < value <= 1:
            raise InputError(f"{name}: must be above 0 and at most 1, got {value}")
    if rules.refer_below is not None and not 0 <= rules.refer_below <= 1:
        raise InputError(f"refer below: must be from 0 to 1, got {rules.refer_below}")


def choose_decision(
    probabilities: Table, labels: NDArray[np.int64], groups: Sequence[str], classes: Sequence[str], rules: DecisionRules
) -> Decision:
    """The numbers of a decision from images of the validation split.

    Args:
        probabilities: (N, K) of the images. labels: (N,). groups: (N,), the patient of each.
        classes: K names.
        rules: what is wanted.

    Raises:
        InputError: if the rules name an unknown pooling or class, or the split lacks healthy or diseased patients.
    """
    check_rules(rules, classes)
    cases = gather_cases(groups, labels)
    assert cases.labels is not None
    pooled = pool(probabilities, cases.index, rules.pooling)
    temperature = fit_temperature(pooled, cases.labels)
    calibrated = with_temperature(pooled, temperature)
    healthy = _healthy(rules.healthy, classes)
    threshold, threshold_rule = None, "none"
    if healthy is not None:
        k = list(classes).index(healthy)
        scores, ill = 1 - calibrated[:, k], cases.labels != k
        if rules.sensitivity is None:
            threshold, threshold_rule = youden_threshold(scores, ill), "Youden"
        else:
            threshold = sensitivity_threshold(scores, ill, rules.sensitivity)
            threshold_rule = f"sensitivity of {rules.sensitivity:g}"
    refer_below, referral_rule = rules.refer_below, "fixed"
    if refer_below is None:
        refer_below = referral_threshold(check_predictions(calibrated, cases.labels), rules.kept_accuracy)
        referral_rule = f"accuracy of {rules.kept_accuracy:g} among the kept"
    return Decision(rules.pooling, temperature, healthy, threshold, threshold_rule, float(refer_below), referral_rule)


def _healthy(name: str | None, classes: Sequence[str]) -> str | None:
    usual = next((c for c in classes if c.lower() in HEALTHY), None)
    return name or usual or (classes[0] if len(classes) == 2 else None)


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200


def _is_temperature(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


_RULES: dict[str, tuple[Any, str]] = {
    "pooling": (lambda v: v in POOLINGS if isinstance(v, str) else False, f"one of {', '.join(POOLINGS)}"),
    "temperature": (_is_temperature, "a positive number"),
    "healthy": (lambda v: v is None or _is_text(v), "a class or nothing"),
    "threshold": (lambda v: v is None or _is_share(v), "a number from 0 to 1, or nothing"),
    "threshold_rule": (_is_text, "a text"),
    "refer_below": (_is_share, "a number from 0 to 1"),
    "referral_rule": (_is_text, "a text"),
}
