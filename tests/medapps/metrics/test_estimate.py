"""An estimate survives JSON and never turns into a bare number."""

from __future__ import annotations

import json
import math

import pytest

from medapps.errors import InputError
from medapps.metrics import Estimate, not_defined


@pytest.mark.parametrize("estimate", [Estimate(0.5, 0.4, 0.6, 10, "Wilson"), Estimate(0.5, 0.0, 1.0, 1, "x")])
def test_an_estimate_survives_json(estimate):
    assert Estimate.from_dict(json.loads(json.dumps(estimate.to_dict(), allow_nan=False))) == estimate


def test_what_is_not_defined_survives_json_as_null():
    plain = json.loads(json.dumps(not_defined("no case of class 1", n=0).to_dict(), allow_nan=False))
    assert plain["value"] is None
    back = Estimate.from_dict(plain)
    assert math.isnan(back.value)
    assert not back.is_defined
    assert str(back) == "not defined (no case of class 1, n = 0)"


def test_a_figure_without_an_interval_says_why():
    text = str(Estimate(1.0, math.nan, math.nan, 7, "no interval: all draws agree"))
    assert text == "1.000 (no interval: all draws agree, n = 7)"


@pytest.mark.parametrize(
    "broken",
    [None, [], {}, {"value": "0.5"}, {"value": 0.5, "n": -1, "method": ""}, {"value": True, "n": 1, "method": "m"}],
)
def test_a_broken_estimate_is_named(broken):
    with pytest.raises(InputError, match="estimate"):
        Estimate.from_dict(broken)
