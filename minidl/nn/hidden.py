"""A guard against the quietest mistake of all: layers in a plain list are neither trained nor saved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from minidl.errors import ArgumentError

if TYPE_CHECKING:
    from minidl.nn.module import Module


def check_nothing_is_hidden(root: Module, kind: type[Module]) -> None:
    """See that every module (of class `kind`) in a plain list or dict among the attributes is also part of the network.

    A tuple is let pass: it holds a module on purpose without making it a part, such as a teacher network.

    Raises:
        ArgumentError: naming the attribute.
    """
    parts = set(root.modules())
    for part in parts:
        for name, module in _listed(part, kind):
            if module not in parts:
                container = "nn.ModuleDict" if isinstance(vars(part)[name], dict) else "nn.ModuleList"
                raise ArgumentError(
                    f"{type(part).__name__}.{name} is a plain {type(vars(part)[name]).__name__} that holds a "
                    f"{type(module).__name__}, whose weights would be neither trained nor saved; make it an "
                    f"{container}, or a tuple if that is on purpose"
                )


def _listed(part: Module, kind: type[Module]) -> Iterator[tuple[str, Module]]:
    """The modules in plain lists and dicts among the attributes of `part`."""
    for name, value in vars(part).items():
        if type(value) is list or type(value) is dict:
            for item in value.values() if type(value) is dict else value:
                if isinstance(item, kind):
                    yield name, item
