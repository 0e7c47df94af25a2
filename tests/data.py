"""Where the real data sets are: MEDAPPS_DATA, or shared/data beside the repository. Tests skip without them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def data_path(name: str) -> Path:
    """Path of a data set or folder; skips the test when it is not at hand."""
    root = Path(os.environ.get("MEDAPPS_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not (root / name).exists():
        pytest.skip(f"data set {name} is not at hand (set MEDAPPS_DATA)")
    return root / name
