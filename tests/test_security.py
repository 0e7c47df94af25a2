"""What SECURITY.md promises of the whole source, and that every test it names exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(p for package in ("minidl", "medapps") for p in (ROOT / package).rglob("*.py"))
NETWORK = {"asyncio", "ftplib", "http", "requests", "smtplib", "socket", "ssl", "urllib", "webbrowser", "xmlrpc"}
PROGRAMS = {"pty", "subprocess"}
OBJECTS = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
CODE = {"__import__", "compile", "eval", "exec"}
# The user's own kernels, and who compiles some of them, as SECURITY.md says.
ALLOWED = {"minidl/device/numba_backend.py": {"pickle"}, "minidl/core/companion.py": {"subprocess"}}


def imports(tree: ast.AST) -> set[str]:
    """The outermost names of all modules that are imported, at any depth of the code."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Each call of a plain name or of an attribute, with that name written out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield ast.unparse(node.func), node


def faults(text: str, name: str) -> list[str]:
    """What in a source file breaks a promise."""
    tree = ast.parse(text)
    found = sorted(imports(tree) & (NETWORK | PROGRAMS | OBJECTS) - ALLOWED.get(name, set()))
    for called, node in calls(tree):
        plain = any(k.arg == "allow_pickle" and ast.unparse(k.value) == "False" for k in node.keywords)
        if called in CODE or called in ("os.system", "os.popen") or (called == "np.load" and not plain):
            found.append(called)
    return found


def test_no_source_evaluates_text_unpickles_starts_programs_or_connects() -> None:
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in SOURCES}
    assert len(texts) > 200
    assert not {name: found for name, text in texts.items() if (found := faults(text, name))}


@pytest.mark.parametrize(
    "text",
    ["import urllib.request", "def f():\n    from pickle import loads", "eval('1')", "np.load(f)", "os.system('')"],
)
def test_a_planted_fault_is_found(text: str) -> None:
    assert faults(text, "x.py")


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file} has no {test}"
