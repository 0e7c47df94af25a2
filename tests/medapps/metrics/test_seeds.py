"""Seeds and sampling are two errors, and the table keeps them apart."""

from __future__ import annotations

import math
import statistics

import pytest

from medapps.errors import InputError
from medapps.metrics import Estimate, over_seeds


def of(value, n=100):
    return {"auc": Estimate(value, value - 0.03, value + 0.01, n, "DeLong")}


def test_mean_and_sd_are_those_of_the_statistics_module():
    values = [0.94, 0.95, 0.97]
    (row,) = over_seeds([of(v) for v in values])
    assert (row.mean, row.sd) == pytest.approx((statistics.mean(values), statistics.stdev(values)))
    assert (row.low, row.high) == pytest.approx((row.mean - 0.03, row.mean + 0.01))
    assert (row.seeds, row.n) == (3, 100)


def test_one_seed_has_no_sd():
    assert math.isnan(over_seeds([of(0.9)])[0].sd)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([], "at least one"),
        ([of(0.9), of(0.9, n=99)], "auc rests on 99 to 100 cases"),
        ([of(0.9), {}], "the same figures"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(runs, message):
    with pytest.raises(InputError, match=message):
        over_seeds(runs)
