"""Deferring: a cheap op waits for the op after it, so that both run in one pass over memory.

Normalisation, the sum with a shortcut and the ReLU behind it each read and write a whole image for an operation or two
on each number; run as one, the image is read and written once. So inside the call of a module the result of an op that
`defers` is a `Waiting` tensor: its shape is known, its numbers are not. The op that gets it may take it in (`absorbs`);
whoever else looks at it has it computed first. When the outermost module returns, nothing is left waiting.

In between, whatever changes memory in place settles what waits for that memory, so a result is the same as if it had
been computed at once.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from minidl.core import registry
from minidl.core.origin import refresh
from minidl.core.spec import Spec
from minidl.core.tape import is_recording, recording
from minidl.core.tensor import Tensor
from minidl.device import Array, Device, device_of
from minidl.device.dtypes import DType

if TYPE_CHECKING:
    from minidl.core.op import Op

# (waiting, position, inputs, params) -> the result of the op that takes it in, or None: it cannot.
Rule = Callable[["Waiting", int, tuple[Tensor, ...], dict[str, Any]], Tensor | None]

rules: dict[str, dict[str, Rule]] = {}  # by the name of the op that takes in, and of the one that waits
_window: ContextVar[list[weakref.ref[Waiting]] | None] = ContextVar("window", default=None)
_places: dict[str, Any] = {
    name: getattr(Tensor, name) for name in ("array", "node", "slot")
}  # `Waiting` fills them late


class Waiting(Tensor):
    """The result of an op that has not run yet. It runs when its array, or its place on the tape, is asked for."""

    __slots__ = ("_known", "inputs", "is_recorded", "op", "params")

    op: type[Op] | None  # None when it has run
    inputs: tuple[Tensor, ...]
    params: dict[str, Any]
    is_recorded: bool
    _known: Spec

    @staticmethod
    def for_result(op: type[Op], spec: Spec, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> Waiting:
        t = Waiting.__new__(Waiting)
        t.op, t._known, t.inputs, t.params = op, spec, inputs, params
        t.is_recorded = is_recording()
        for i in inputs:
            if i.origin is not None:
                refresh(i)
        t.grad = t.hooks = t.origin = None
        t.requires_grad = t.is_recorded and any(i.requires_grad for i in inputs)
        return t

    def settle(self) -> None:
        """Run the op now, if it has not run."""
        if self.op is None:
            return
        with recording(self.is_recorded):
            result = self.op.run(self.inputs, self.params)
        self.op, self.inputs, self.params = None, (), {}
        for name, place in _places.items():
            place.__set__(self, getattr(result, name))

    @property
    def spec(self) -> Spec:
        return Spec(self.array.shape, self.array.dtype) if self.op is None else self._known

    @property
    def shape(self) -> tuple[int, ...]:
        return self.spec.shape

    @property
    def dtype(self) -> DType:
        return self.spec.dtype

    @property
    def ndim(self) -> int:
        return self.spec.ndim

    @property
    def device(self) -> Device:
        return device_of(self.array) if self.op is None else self.inputs[0].device


def _late(name: str) -> property:
    """An attribute of a tensor that is not known before the op has run."""
    place = _places[name]

    def get(self: Waiting) -> Any:
        self.settle()
        return place.__get__(self)

    def put(self: Waiting, value: Any) -> None:
        self.settle()
        place.__set__(self, value)

    return property(get, put)


for _name in _places:
    setattr(Waiting, _name, _late(_name))


@contextmanager
def deferring() -> Iterator[None]:
    """Let ops wait inside the block; when it ends, all that is still wanted has been computed."""
    if _window.get() is not None:
        yield
        return
    token = _window.set([])
    try:
        yield
        settle()
    finally:
        _window.reset(token)


def may_wait() -> bool:
    """Whether ops may wait now."""
    return _window.get() is not None


def waiting(op: type[Op], spec: Spec, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> Waiting:
    """The result of `op`, not computed yet."""
    t = Waiting.for_result(op, spec, inputs, params)
    window = _window.get()
    if window is not None:
        window[:] = [ref for ref in window if _waits(ref)]
        window.append(weakref.ref(t))
    return t


def settle(changing: tuple[Array, ...] | None = None) -> None:
    """Compute what waits for any of these arrays, which are about to change; for all there are, if None."""
    for ref in tuple(_window.get() or ()):
        t = ref()
        if t is not None and t.op is not None and (changing is None or _looks_at(t, changing)):
            t.settle()


def absorbs(taker: str, waits: str) -> Callable[[Rule], Rule]:
    """Let op `taker` take in the waiting result of op `waits` by this rule."""

    def register(rule: Rule) -> Rule:
        rules.setdefault(taker, {})[waits] = rule
        return rule

    return register


def absorbed(name: str, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> Tensor | None:
    """The result of op `name` together with one of its inputs that waits; None if none can be taken in."""
    for position, t in enumerate(inputs):
        if isinstance(t, Waiting) and t.op is not None and t.is_recorded == is_recording():
            rule = rules[name].get(t.op.name)
            result = None if rule is None else rule(t, position, inputs, params)
            if result is not None:
                return result
    return None


def _waits(ref: weakref.ref[Waiting]) -> bool:
    t = ref()
    return t is not None and t.op is not None


def _looks_at(t: Tensor, changing: tuple[Array, ...]) -> bool:
    """Whether `t`, computed or not, depends on memory that is about to change."""
    if isinstance(t, Waiting) and t.op is not None:
        return any(_looks_at(i, changing) for i in t.inputs)
    return any(_owner(t.array) is _owner(a) for a in changing)


def _owner(array: Array) -> Array:
    return array if array.base is None else array.base


registry.functions["settle"] = settle  # for layers below this one
