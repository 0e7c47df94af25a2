"""Loading a state_dict: everything is checked before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from minidl.core import Tensor, as_tensor, recording
from minidl.errors import StateDictError
from minidl.nn.parameter import is_lazy

_SHOWN = 12  # a sentence with more names than these is not read


class LoadResult(NamedTuple):
    """The names that `load_state_dict(strict=False)` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load(own: Mapping[str, Tensor], given: Mapping[str, Any], strict: bool, owner: str) -> LoadResult:
    """Copy the values of `given` into the tensors of `own`, which keep their memory, type and device.

    Raises:
        StateDictError: listing what is missing, unexpected or of another shape; nothing is changed then.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"load_state_dict: needs a dict of tensors by name, got {type(given).__name__}")
    values = {name: as_tensor(given[name]).detach() for name in own if name in given and not is_lazy(given[name])}
    missing = [name for name in own if name not in given]
    unexpected = [name for name in given if name not in own]
    misfits = [
        f"{name} is {value.shape} but must be {own[name].shape}"
        for name, value in values.items()
        if not is_lazy(own[name]) and value.shape != own[name].shape
    ]
    misfits += [
        f"{name} has no shape yet but must be {tensor.shape}"
        for name, tensor in own.items()
        if not is_lazy(tensor) and is_lazy(given.get(name))
    ]
    if misfits or (strict and (missing or unexpected)):
        raise StateDictError(_sentence(owner, missing if strict else [], unexpected if strict else [], misfits))
    with recording(False):
        for name, value in values.items():
            if is_lazy(own[name]):
                own[name].materialize(value.shape)
            own[name].copy_(value.to(own[name].device))
    return LoadResult(missing, unexpected)


def _sentence(owner: str, missing: Sequence[str], unexpected: Sequence[str], misfits: Sequence[str]) -> str:
    parts = {"missing": missing, "unexpected": unexpected, "of another shape": misfits}
    listed = "; ".join(f"{kind}: {_listed(names)}" for kind, names in parts.items() if names)
    return f"load_state_dict: the state does not fit {owner}, nothing was changed; {listed}{_hint(missing, unexpected)}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _hint(missing: Sequence[str], unexpected: Sequence[str]) -> str:
    """A way out where only a prefix differs, as in states saved from a wrapped model ("module.")."""
    prefix = unexpected[0].removesuffix(missing[0]) if missing and unexpected else ""
    if prefix and [prefix + name for name in missing] == list(unexpected):
        return f"; the names only differ by {prefix!r} in front, which can be stripped"
    return ""
