"""Templates: text into pages, and whatever a file calls itself stays text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

__all__ = ["render"]


def render(name: str, values: Mapping[str, Any]) -> str:
    """The template `name` of medapps/templates, filled with `values`; one that it needs and that is missing raises."""
    environment = Environment(
        loader=PackageLoader("medapps", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(values)


def _printable(value: Any) -> Any:
    """Text without control characters, direction marks and halves of characters: they could hide or turn other text."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value)
    return value
