"""Every error that a public docstring of minidl documents has a call in the table that provokes it, and says enough."""

from __future__ import annotations

import importlib
import inspect
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from docs.reference.generate import PAGES
from minidl.device import numba_status
from minidl.errors import MinidlError
from tests.minidl.wrong_calls import ELSEWHERE, WRONG_CALLS, WrongCall

Documented = dict[tuple[str, str], str]  # the condition by public name and error


def public_things() -> Iterator[tuple[str, Any]]:
    """Public functions and classes, and the methods that a class defines itself, once each, by their full names."""
    seen: set[int] = set()
    for module in PAGES["minidl"]:
        for entry in importlib.import_module(module).__all__:
            thing = getattr(importlib.import_module(module), entry)
            parts = [(f"{module}.{entry}", thing)]
            if inspect.isclass(thing):
                own = {name: getattr(thing, name) for name in vars(thing) if name[:2] != "__"}
                parts += [(f"{module}.{entry}.{name}", part) for name, part in own.items() if _has_a_docstring(part)]
            for name, part in parts:
                if id(part) not in seen:
                    seen.add(id(part))
                    yield name, part


def _has_a_docstring(part: Any) -> bool:
    return inspect.isroutine(part) or isinstance(part, property)


def raised(doc: str) -> Iterator[tuple[str, str]]:
    """The entries of a docstring's `Raises:`, (error, condition)."""
    _, _, rest = inspect.cleandoc(doc).partition("Raises:\n")
    for error, condition in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", rest.partition("\n\n")[0], re.MULTILINE):
        yield error, " ".join(condition.split())


def documented() -> Documented:
    return {
        (name, error): condition
        for name, thing in public_things()
        for error, condition in raised((thing.__doc__ if inspect.isclass(thing) else inspect.getdoc(thing)) or "")
    }


def gaps(conditions: Documented, rows: Iterable[WrongCall]) -> list[str]:
    """Documented errors with fewer rows than their condition has alternatives ("if ..., or ...")."""
    counts = Counter((row.of, row.error.__name__) for row in rows)
    return [
        f"{name}: {error} {condition}"
        for (name, error), condition in conditions.items()
        if counts[name, error] + ((name, error) in ELSEWHERE) < 1 + condition.count(", or ")
    ]


@pytest.mark.parametrize("row", WRONG_CALLS, ids=lambda row: f"{row.of}-{row.message[:60]}")
def test_a_wrong_call_is_named(row: WrongCall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if row.of.startswith("minidl.device.Kernel.") and not numba_status():
        pytest.skip("Numba is not installed")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(row.error) as found:
        row.call()
    assert row.message in str(found.value)
    if isinstance(found.value, MinidlError):
        assert len(found.value.args) == 1  # a stray comma makes a tuple, which still holds the message
        assert not row.message.endswith(".")


def test_every_documented_error_has_rows() -> None:
    assert gaps(documented(), WRONG_CALLS) == []


def test_every_row_and_every_exception_is_documented() -> None:
    known = set(documented())
    assert [row for row in WRONG_CALLS if (row.of, row.error.__name__) not in known] == []
    assert [key for key in ELSEWHERE if key not in known] == []
    assert [file for file in ELSEWHERE.values() if not (Path(__file__).parent / file).exists()] == []


def test_a_documented_error_without_a_row_is_noticed() -> None:
    doc = """Do it.

    Raises:
        ShapeError: if it does not fit, or
            is empty.
        OSError: if it cannot be written.

    More words.
    """
    conditions = {("f", error): condition for error, condition in raised(doc)}
    assert conditions == {
        ("f", "ShapeError"): "if it does not fit, or is empty.",
        ("f", "OSError"): "if it cannot be written.",
    }
    row = WrongCall("f", OSError, list, "")
    assert gaps(conditions, [row]) == ["f: ShapeError if it does not fit, or is empty."]


def test_the_docstrings_are_found() -> None:
    """Some of each kind: a function, a class, a method."""
    known = set(documented())
    assert {
        ("minidl.conv2d", "ShapeError"),
        ("minidl.optim.Optimizer", "ArgumentError"),
        ("minidl.nn.Module.load_state_dict", "StateDictError"),
    } <= known
    assert len(known) > 140
