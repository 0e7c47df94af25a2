"""What is public exists, is documented, and is listed."""

from __future__ import annotations

import importlib
import inspect

import pytest

from docs.reference.generate import PAGES

MODULES = [name for names in PAGES.values() for name in names]


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_exists_and_is_documented(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    for entry in module.__all__:
        thing = getattr(module, entry)
        if inspect.isfunction(thing) or inspect.isclass(thing):
            assert inspect.getdoc(thing), f"{name}.{entry} has no docstring"


def test_the_public_ops_say_what_they_raise_or_show_a_number() -> None:
    """Every op beyond one line of arguments documents shapes, errors, a source or an example."""
    import minidl

    bare = [
        name
        for name in minidl.ops.__all__
        if len(inspect.signature(getattr(minidl, name)).parameters) > 4
        and not any(word in (getattr(minidl, name).__doc__ or "") for word in ("Args:", "`"))
    ]
    assert bare == []
