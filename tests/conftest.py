"""Rules for the whole run: draws start from one seed, and no test is skipped for a reason that is not listed here."""

from __future__ import annotations

import gc
import os
import re
import signal

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Read when NumPy is imported. Its threads wait by spinning: with two processes on two cores 3 to 9 times the time.
    for library in ("OPENBLAS", "OMP"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import minidl
from minidl.device import cuda_status

# A shell that starts the tests in the background has SIGINT ignored, and programs that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

minidl.set_compile("alone")  # the tests compile backward kernels soon enough, and count processes

ALLOWED_SKIPS = (
    r"PyTorch is not installed",
    r"Numba is not installed",
    r"data set .* is not at hand",
    r"no GPU: .*",
    r"g\+\+ is not installed",
    r"NVRTC is not installed",
    r"one core, or no /proc",
    r"locks of files are POSIX's",
    r"all tests skipped by \+SKIP option",  # a doctest that only shows a call
)


@pytest.fixture(scope="module", autouse=True)
def _garbage_is_looked_for_among_what_is_new() -> None:
    """Else each collection that a test asks for goes through all tests and compilers: up to 1.8 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _default_generator_starts_from_zero() -> None:
    minidl.manual_seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` need one; where there must be one, MINIDL_REQUIRE_GPU=1 lets no broken GPU hide as a skip."""
    if item.get_closest_marker("gpu") and (reason := cuda_status()):
        verdict = pytest.fail if os.environ.get("MINIDL_REQUIRE_GPU") == "1" else pytest.skip
        verdict(f"no GPU: {reason}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(re.search(allowed, reason) for allowed in ALLOWED_SKIPS):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped for a reason that tests/conftest.py does not list: {reason}"
    return report
