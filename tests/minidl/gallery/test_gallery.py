"""Our checks find every planted fault, and nothing in what is right."""

from __future__ import annotations

import re

import pytest

from docs.reference import planted_faults
from minidl.testing import CHECKS, does_not_apply
from tests.minidl.gallery import FAULTS, Fault

each_fault = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)


@each_fault
def test_the_check_kills_the_fault(fault: Fault) -> None:
    assert fault.verdict(fault.found_by), f"{fault.found_by} did not notice it"


@each_fault
def test_a_wrong_gradient_has_right_values(fault: Fault) -> None:
    """Else it would be found without looking at gradients at all."""
    if fault.kind == "gradient":
        assert fault.verdict("values") is None


@each_fault
def test_the_truth_survives_every_check(fault: Fault) -> None:
    for name, check in CHECKS.items():
        if does_not_apply(fault.truth, name) is None:
            check(fault.truth)


def test_there_are_enough_of_them_and_each_has_one_lesson() -> None:
    assert len(FAULTS) >= 100
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert {fault.found_by for fault in FAULTS} >= set(CHECKS) - {"float32"}
    for fault in FAULTS:
        assert re.fullmatch(r"\S.*[^.]\.", fault.lesson), fault.name
        assert ". " not in fault.lesson, f"{fault.name}: the lesson is one sentence"


def test_the_page_of_the_docs_is_up_to_date() -> None:
    assert planted_faults.PAGE.read_text(encoding="utf-8") == planted_faults.page(), (
        "run python -m docs.reference.planted_faults"
    )
