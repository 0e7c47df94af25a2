"""Modules that hold modules: one after the other, in a list, or by name; and weights in a list or by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar, cast, overload

from minidl.errors import ArgumentError
from minidl.nn.module import Module
from minidl.nn.parameter import Parameter

__all__ = ["ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"]

Entry = TypeVar("Entry")


class _Numbered(Module):
    """A container whose parts can be reached by position; their names are "0", "1", ... unless given."""

    def _names(self) -> list[str]:
        return [name for name, value in vars(self).items() if isinstance(value, Module)]

    def _replace_all(self, modules: Iterable[Module]) -> None:
        modules = list(modules)
        for name in self._names():
            delattr(self, name)
        for position, module in enumerate(modules):
            self.add_module(str(position), _checked(self, module))

    def __len__(self) -> int:
        return len(self._names())

    def __iter__(self) -> Iterator[Module]:
        return iter([vars(self)[name] for name in self._names()])

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Module | Self:
        if isinstance(index, slice):
            return self._part(self._names()[index])
        return cast(Module, vars(self)[self._name_at(index)])

    def _part(self, names: list[str]) -> Self:
        raise NotImplementedError

    def _name_at(self, index: int) -> str:
        names = self._names()
        if not -len(names) <= index < len(names):
            raise IndexError(f"{type(self).__name__}: index {index} is out of range; it holds {len(names)} modules")
        return names[index]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._name_at(index), _checked(self, module))

    def __delitem__(self, index: int | slice) -> None:
        modules = list(self)
        del modules[index]
        self._replace_all(modules)

    def __add__(self, other: Iterable[Module]) -> Self:
        joined = type(self)()
        joined._replace_all([*self, *other])
        return joined

    def append(self, module: Module) -> Self:
        """Put `module` at the end; returns the container."""
        self.add_module(str(len(self)), _checked(self, module))
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Put all `modules` at the end; returns the container."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Put `module` before position `index`; returns the container."""
        modules = list(self)
        modules.insert(index, module)
        self._replace_all(modules)
        return self

    def pop(self, index: int = -1) -> Module:
        """Take out the module at `index` and return it."""
        module = self[index]
        del self[index]
        return module


class Sequential(_Numbered):
    """Modules one after the other: each gets what the one before gave.

    Args:
        modules: in order; or one dict that names them.

    >>> from minidl import nn
    >>> len(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))[1:])
    2
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, _checked(self, module))
        else:
            for position, part in enumerate(modules):
                self.add_module(str(position), _checked(self, part))

    def _part(self, names: list[str]) -> Self:
        return type(self)({name: vars(self)[name] for name in names})

    def forward(self, input: Any) -> Any:
        for module in tuple(vars(self).values()):
            if isinstance(module, Module):
                input = module(input)
        return input


class ModuleList(_Numbered):
    """A list of modules, all of them parts of the network. It has no `forward`: index it or loop over it."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    def _part(self, names: list[str]) -> Self:
        return type(self)(vars(self)[name] for name in names)

    def _repr_children(self) -> list[str]:
        """Equal neighbours share a line, as in "(0-3): 4 x Linear(...)"."""
        runs: list[list[Any]] = []  # first position, last position, text
        for position, module in enumerate(self):
            if runs and runs[-1][2] == repr(module):
                runs[-1][1] = position
            else:
                runs.append([position, position, repr(module)])
        return [
            f"({first}): {text}" if first == last else f"({first}-{last}): {last - first + 1} x {text}"
            for first, last, text in runs
        ]


class _Named(Module, Generic[Entry]):
    """Entries by name: they are attributes, so their names are those of the state_dict."""

    _kind: ClassVar[type]
    _word: ClassVar[str]

    def __init__(self, entries: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None) -> None:
        self.update(entries or {})

    def _put(self, key: str, value: Any) -> None:
        raise NotImplementedError

    def __getitem__(self, key: str) -> Entry:
        if key not in self:
            known = ", ".join(self.keys()) or "none"
            raise KeyError(f"{type(self).__name__}: there is no {self._word} {key!r}; it holds {known}")
        return cast(Entry, vars(self)[key])

    def __setitem__(self, key: str, value: Any) -> None:
        self._put(key, value)

    def __delitem__(self, key: str) -> None:
        self.pop(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and isinstance(vars(self).get(key), self._kind)

    def __len__(self) -> int:
        return len(self.keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> list[str]:
        return [name for name, value in vars(self).items() if isinstance(value, self._kind)]

    def values(self) -> list[Entry]:
        return [vars(self)[name] for name in self.keys()]

    def items(self) -> list[tuple[str, Entry]]:
        return [(name, vars(self)[name]) for name in self.keys()]

    def update(self, entries: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Add all `entries`, in place of those with the same names."""
        for key, value in dict(entries).items():
            self[key] = value

    def pop(self, key: str) -> Entry:
        """Take out the entry `key` and return it."""
        value = self[key]
        delattr(self, key)
        return value

    def clear(self) -> None:
        """Take out all entries."""
        for key in self.keys():
            delattr(self, key)


class ModuleDict(_Named[Module]):
    """Modules by name, all of them parts of the network. It has no `forward`."""

    _kind, _word = Module, "module"

    def _put(self, key: str, value: Any) -> None:
        self.add_module(key, _checked(self, value))


class ParameterDict(_Named[Parameter]):
    """Weights by name, all of them trained; tensors become Parameters."""

    _kind, _word = Parameter, "parameter"

    def _put(self, key: str, value: Any) -> None:
        self.register_parameter(key, _parameter(value))

    def _repr_children(self) -> list[str]:
        return [f"({key}): Parameter of {p.dtype} and shape {p.shape}" for key, p in self.items()]


class ParameterList(Module):
    """A list of weights, all of them trained; tensors become Parameters."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        self.extend(values)

    def __len__(self) -> int:
        return sum(isinstance(value, Parameter) for value in vars(self).values())

    def __iter__(self) -> Iterator[Parameter]:
        return iter([value for value in vars(self).values() if isinstance(value, Parameter)])

    def __getitem__(self, index: int) -> Parameter:
        if not -len(self) <= index < len(self):
            raise IndexError(f"ParameterList: index {index} is out of range; it holds {len(self)} parameters")
        return cast(Parameter, vars(self)[str(index % len(self))])

    def __setitem__(self, index: int, value: Any) -> None:
        self[index]
        setattr(self, str(index % len(self)), _parameter(value))

    def append(self, value: Any) -> Self:
        """Put a weight at the end; returns the list."""
        self.register_parameter(str(len(self)), _parameter(value))
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Put all `values` at the end; returns the list."""
        for value in list(values):
            self.append(value)
        return self

    def _repr_children(self) -> list[str]:
        return [f"({i}): Parameter of {p.dtype} and shape {p.shape}" for i, p in enumerate(self)]


def _parameter(value: Any) -> Parameter:
    return value if isinstance(value, Parameter) else Parameter(value)


def _checked(owner: Module, module: Any) -> Module:
    """`module`, if it is one; the sentence for a class or a function given instead."""
    if isinstance(module, Module):
        return module
    name = type(owner).__name__
    if isinstance(module, type) and issubclass(module, Module):
        raise ArgumentError(f"{name}: {module.__name__} is a class; make a layer of it: {module.__name__}(...)")
    if isinstance(module, (list, tuple)):
        raise ArgumentError(f"{name}: got a {type(module).__name__} of modules; put a star before it: {name}(*layers)")
    if callable(module):
        function = getattr(module, "__name__", repr(module))
        raise ArgumentError(f"{name}: {function} is a function; use a layer, such as nn.ReLU() for F.relu")
    raise ArgumentError(f"{name}: holds modules, got {type(module).__name__}")
