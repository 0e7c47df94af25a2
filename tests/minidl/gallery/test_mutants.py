"""No gradient of any op, and no result of a kernel, can be changed without a row of the table that notices."""

from __future__ import annotations

import pytest

from minidl.device import numba_status
from tests.minidl.gallery.mutants import kernel_verdicts, verdicts


def test_every_changed_gradient_is_killed() -> None:
    found = verdicts()
    assert len(found) > 600
    assert [mutant for mutant, killed in found.items() if not killed] == []


@pytest.mark.numba
@pytest.mark.slow
@pytest.mark.skipif(not numba_status(), reason="Numba is not installed")
def test_every_changed_kernel_is_killed() -> None:
    found = kernel_verdicts()
    assert len(found) > 60
    assert [mutant for mutant, killed in found.items() if not killed] == []
