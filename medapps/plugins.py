"""Plug-ins: transforms, models and metrics that other installed packages bring.

A package offers them as entry points of the groups `medapps.transforms`, `medapps.models` and `medapps.metrics`. They
are looked at only when a recipe or a model file uses a name that is not known here, and only the one of that name is
imported. Names of our own always win.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from medapps.errors import InputError, MedappsError

__all__ = ["WAY_OUT", "Plugin", "find_plugin", "installed_plugins"]

KINDS = ("transform", "model", "metric")
WAY_OUT = "if a plug-in brings it, install that plug-in (`medapps doctor` lists those that are)"


@dataclass(frozen=True)
class Plugin:
    """One entry point: what it brings, under which name, and which installed package it is of."""

    kind: str
    name: str
    package: str
    entry: EntryPoint

    def load(self) -> Any:
        """Import what the plug-in brings.

        Raises:
            InputError: one sentence that names the package, if that fails.
        """
        with self.blamed("cannot be loaded; update or uninstall it"):
            return self.entry.load()

    @contextmanager
    def blamed(self, what: str) -> Iterator[None]:
        """Turn whatever the plug-in's code raises into one sentence that names the package; ours stay as they are."""
        try:
            yield
        except MedappsError:
            raise
        except Exception as error:
            raise self.refused(f"{what} ({type(error).__name__}: {error})") from error

    def refused(self, why: str) -> InputError:
        """The error that names this plug-in."""
        return InputError(f"{self.kind} {self.name!r} of the plug-in {self.package}: {why}")


def installed_plugins() -> tuple[Plugin, ...]:
    """All that is installed, by kind and name; none of it is imported."""
    return tuple(plugin for kind in KINDS for plugin in sorted(_plugins(kind), key=lambda p: (p.name, p.package)))


def find_plugin(kind: str, name: object) -> Plugin | None:
    """The plug-in of one of KINDS with this name; None if there is none.

    Raises:
        InputError: if several packages bring that name.
    """
    found = [plugin for plugin in _plugins(kind) if plugin.name == name]
    if len(found) > 1:
        packages = " and ".join(sorted(plugin.package for plugin in found))
        raise InputError(f"{kind} {name!r} is brought by {packages}; uninstall all but one of them")
    return found[0] if found else None


def _plugins(kind: str) -> Iterator[Plugin]:
    for entry in entry_points(group=f"medapps.{kind}s"):
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "of no known package"
        yield Plugin(kind, entry.name, package, entry)
