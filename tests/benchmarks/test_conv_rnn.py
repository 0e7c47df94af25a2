"""The timing of convolutional recurrent layers still runs, and compares results; its times decide nothing here."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from benchmarks.conv_rnn import rows  # noqa: E402 - it needs PyTorch


@pytest.mark.slow
def test_every_kind_is_timed_beside_pytorch() -> None:
    found = list(rows(torch, [(3, 1, 2, 4, 6)], threads=1, rounds=1))
    assert [row.name for row in found] == ["ConvLSTM2d", "ConvGRU2d"]
    assert all(row.ratio.median > 0 for row in found)
