"""Rules for the whole run: draws start from one seed, and no test is skipped for a reason that is not listed here."""

from __future__ import annotations

import re

import pytest

import minidl

ALLOWED_SKIPS = (
    r"PyTorch is not installed",
    r"Numba is not installed",
    r"data set .* is not at hand",
    r"no GPU: .*",
    r"g\+\+ is not installed",
    r"all tests skipped by \+SKIP option",  # a doctest that only shows a call
)


@pytest.fixture(autouse=True)
def _default_generator_starts_from_zero() -> None:
    minidl.manual_seed(0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(re.search(allowed, reason) for allowed in ALLOWED_SKIPS):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped for a reason that tests/conftest.py does not list: {reason}"
    return report
