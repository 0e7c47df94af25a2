"""Importing stays light: what is not needed yet is not loaded."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("numba", "llvmlite", "cupy", "pydicom", "matplotlib", "scipy", "skimage", "PIL", "rich", "jinja2", "torch")


def loaded_by(code: str) -> set[str]:
    program = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("code", ["import minidl", "import medapps", "import minidl.cli", "import medapps.cli"])
def test_an_import_loads_nothing_heavy(code: str) -> None:
    assert not loaded_by(code) & set(HEAVY)


def test_medapps_alone_needs_the_standard_library_only() -> None:
    assert "numpy" not in loaded_by("import medapps")


def test_nothing_is_written_or_connected_at_import() -> None:
    program = """
import sys
seen = []
def watch(event, args):
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if event == "socket.connect" or writes:
        seen.append((event, args))
sys.addaudithook(watch)
import minidl, medapps, medapps.cli
assert not seen, seen
"""
    subprocess.run([sys.executable, "-B", "-c", program], check=True)
