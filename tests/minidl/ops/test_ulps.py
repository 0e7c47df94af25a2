"""No op is less exact than its entry in the ledger says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from docs.reference import ulps as reference
from minidl.testing import ulps
from tests.minidl.ops.ulps import LEDGER, limit, measured


@pytest.mark.slow
def test_no_op_exceeds_its_entry() -> None:
    ledger, found = json.loads(LEDGER.read_text(encoding="utf-8")), measured()
    assert {op for op in found if op not in ledger} == set(), "new ops: run python -m tests.minidl.ops.ulps"
    worse = {
        (op, dtype): (error, ledger[op].get(dtype))
        for op, errors in found.items()
        for dtype, error in errors.items()
        if not error <= limit(op, ledger[op].get(dtype, -1))
    }
    assert worse == {}, "measured error, entry"


def test_a_unit_is_the_distance_to_the_next_number() -> None:
    one = np.float32([1.0])
    assert ulps(np.nextafter(one, np.float32(2)), np.float64([1.0])) == 1.0
    assert ulps(one, np.float64([1 + 2.0**-24])) == 0.5
    assert ulps(np.float32([1.0, 2.0**-20]), np.float64([1.0, 0.0]), least=1.0) == 8.0
    assert ulps(np.float32([np.nan, np.inf, -0.0]), np.float64([np.nan, np.inf, 0.0])) == 0.0
    assert ulps(np.float32([1.0]), np.float64([np.nan])) == np.inf


def test_the_page_of_the_docs_is_up_to_date() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run python -m docs.reference.ulps"
