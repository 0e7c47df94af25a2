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
from collections.abc import Callable
from contextvars import ContextVar
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex

from minidl.core import registry
from minidl.core.on_tape import OnTape
from minidl.core.origin import refresh
from minidl.core.spec import Spec
from minidl.core.tape import is_recording, set_recording
from minidl.core.tensor import Tensor, _new
from minidl.core.versions import memory_of
from minidl.device import Array, Device
from minidl.device.dtypes import DType

if TYPE_CHECKING:
    from minidl.core.op import Op

# (waiting, position, inputs, params) -> the result of the op that takes it in, or None: it cannot.
Rule = Callable[["Waiting", int, tuple[Tensor, ...], dict[str, Any]], Tensor | None]

rules: dict[str, dict[str, Rule]] = {}  # by the name of the op that takes in, and of the one that waits
# What waits, or waited, in the outermost call of a module; None outside of all.
Window = list["weakref.ref[Tensor]"]
_window: ContextVar[Window | None] = ContextVar("window", default=None)
# Ops may wait now if it is not None.
window = _window.get
_FEW = 16  # of a window that is not worth looking through for what has been computed


class Asked(NamedTuple):
    """What a waiting tensor is to become: the result of `op` on `inputs`."""

    op: type[Op]
    spec: Spec
    inputs: tuple[Tensor, ...]
    params: dict[str, Any]
    is_recorded: bool


# Where tensors keep what `Waiting` fills late.
_array, _node, _slot = [OnTape.__dict__[name] for name in ("array", "node", "slot")]


class Waiting(Tensor):
    """The result of an op that has not run yet. It runs when its array, or its place on the tape, is asked for.

    From then on it is a plain tensor. Until then, `Asked` stands in the place of the array.
    """

    __slots__ = ()

    asked: Asked = _array

    def settle(self) -> None:
        """Run the op now, if it has not run."""
        asked = _array.__get__(self)
        if type(asked) is not Asked:
            return
        op, _, inputs, params, is_recorded = asked
        before = is_recording()
        set_recording(is_recorded)
        try:
            result = op.run(inputs, params)
        finally:
            set_recording(before)
        _node.__set__(self, result.node)
        _slot.__set__(self, result.slot)
        _array.__set__(self, result.array)
        self.__class__ = Tensor  # type: ignore[assignment]  # of the same form in memory

    op: type[Op] = property(attrgetter("asked.op"))  # type: ignore[assignment]
    inputs: tuple[Tensor, ...] = property(attrgetter("asked.inputs"))  # type: ignore[assignment]
    params: dict[str, Any] = property(attrgetter("asked.params"))  # type: ignore[assignment]
    spec: Spec = property(attrgetter("asked.spec"))  # type: ignore[assignment]
    shape: tuple[int, ...] = property(attrgetter("asked.spec.shape"))  # type: ignore[assignment]
    dtype: DType = property(attrgetter("asked.spec.dtype"))  # type: ignore[assignment]
    ndim: int = property(attrgetter("asked.spec.ndim"))  # type: ignore[assignment]

    @property
    def device(self) -> Device:
        return self.asked.inputs[0].device

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        self.settle()
        return Tensor.__reduce_ex__(self, protocol)


def _late(place: Any) -> property:
    """An attribute of a tensor that is not known before the op has run."""

    def get(self: Waiting) -> Any:
        self.settle()
        return place.__get__(self)

    def put(self: Waiting, value: Any) -> None:
        self.settle()
        place.__set__(self, value)

    return property(get, put)


for _name, _place in (("array", _array), ("node", _node), ("slot", _slot)):
    setattr(Waiting, _name, _late(_place))


class deferring:
    """Let ops wait inside the block; when it ends, all that is still wanted has been computed."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = None if window() is not None else _window.set([])  # inside another block that one goes on

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._token is None:
            return
        try:
            if kind is None:
                settle()
        finally:
            _window.reset(self._token)


def waiting(op: type[Op], spec: Spec, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> Waiting:
    """The result of `op`, not computed yet."""
    t = _new(Waiting)
    needed, is_recorded = False, is_recording()
    for i in inputs:
        if i.origin is not None:
            refresh(i)
        needed = needed or i.requires_grad
    t.grad = t.hooks = t.origin = None
    t.requires_grad = is_recorded and needed
    _array.__set__(t, tuple.__new__(Asked, (op, spec, inputs, params, is_recorded)))
    here = window()
    if here is not None:
        if len(here) > _FEW:
            here[:] = [ref for ref in here if type(ref()) is Waiting]
        here.append(weakref.ref(t))
    return t


def settle(changing: tuple[Array, ...] | None = None) -> None:
    """Compute what waits for any of these arrays, which are about to change; for all there are, if None."""
    for ref in tuple(window() or ()):
        t = ref()
        if type(t) is Waiting and (changing is None or _looks_at(t, changing)):
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
        if type(t) is Waiting and t.asked.is_recorded == is_recording():
            rule = rules[name].get(t.asked.op.name)
            result = None if rule is None else rule(t, position, inputs, params)
            if result is not None:
                return result
    return None


def _looks_at(t: Tensor, changing: tuple[Array, ...]) -> bool:
    """Whether `t`, computed or not, depends on memory that is about to change."""
    if type(t) is Waiting:
        return any(_looks_at(i, changing) for i in t.asked.inputs)
    return any(memory_of(t.array) is memory_of(a) for a in changing)


registry.functions["settle"] = settle  # for layers below this one
