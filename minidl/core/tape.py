"""The tape: what was computed from what.

A `Node` is one step of a computation that needs gradients. It points to the nodes (or leaf tensors) of its inputs and
holds the few arrays that its op named in `saves`; nothing points from a node to its own result, so there is no cycle,
and a graph dies with the last tensor that needs it, without the garbage collector. `core.walk` goes back along it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from minidl.core import registry, versions
from minidl.core.hooks import RemovableHandle
from minidl.core.node_hooks import NodeHooks
from minidl.core.recipe import Recipe, recipe_or_value
from minidl.core.spec import Spec
from minidl.device import Array
from minidl.device.dtypes import float32, is_narrow
from minidl.errors import GradError

if TYPE_CHECKING:
    from minidl.core.op import Op
    from minidl.core.tensor import Tensor

Grads: TypeAlias = "tuple[Tensor | None, ...]"
Kernel: TypeAlias = Callable[..., None]  # (out, *arrays, **params)
Run: TypeAlias = Callable[..., None]  # (out, *arrays): a kernel that has its parameters
# Where a saved value comes from: an input's position, a slice for a variable number of inputs, or the result.
Source: TypeAlias = int | slice | None
OUT: Final = None


class Call(NamedTuple):
    """One run of one kernel, which knows its parameters: `kernel(out, *inputs)`."""

    op: type[Op]
    kernel: Run
    out: Any  # one array, or a tuple of them
    inputs: tuple[Array, ...]
    params: dict[str, Any]

    def run(self) -> None:
        self.kernel(self.out, *self.inputs)


_launcher: ContextVar[Callable[[Call], None] | None] = ContextVar("launcher", default=None)
_recording: ContextVar[bool] = ContextVar("recording", default=True)
_noting: ContextVar[Callable[[Node], None] | None] = ContextVar("noting", default=None)


def launch(op: type[Op], kernel: Run, out: Any, inputs: tuple[Array, ...], params: dict[str, Any]) -> None:
    """Run one kernel, by way of the innermost `launching` block. No kernel runs anywhere else."""
    through = _launcher.get()
    if through is None:
        kernel(out, *inputs)
    else:
        through(Call(op, kernel, out, inputs, params))


@contextmanager
def launching(through: Callable[[Call], None]) -> Iterator[None]:
    """Hand every `Call` of the block to `through`, which runs it (`call.run()`) and may time, log or keep it."""
    token = _launcher.set(through)
    try:
        yield
    finally:
        _launcher.reset(token)


def launcher() -> Callable[[Call], None]:
    """What runs kernels now: the innermost `launching` block, else each call itself."""
    return _launcher.get() or Call.run


# Whether steps are put on the tape now.
is_recording = _recording.get
# Put steps on the tape from here on, or leave them off.
set_recording = _recording.set


class recording:
    """Put the steps of the block on the tape, or leave them off."""

    __slots__ = ("_enabled", "_token")

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled

    def __enter__(self) -> None:
        self._token = _recording.set(self._enabled)

    def __exit__(self, *error: object) -> None:
        _recording.reset(self._token)


@contextmanager
def noting(each: Callable[[Node], None]) -> Iterator[None]:
    """Tell `each` of every node of the block when it is made, and then those of the blocks around it."""
    outer = _noting.get()

    def both(node: Node) -> None:
        each(node)
        if outer is not None:
            outer(node)

    token = _noting.set(both)
    try:
        yield
    finally:
        _noting.reset(token)


_needs = attrgetter("requires_grad")


class Node:
    """One recorded step: the op, its parameters, where its inputs came from, and what backward needs of them.

    This is what PyTorch calls a tensor's `grad_fn`. `number` is the tick at which it was made: later steps have larger
    ones.
    """

    __slots__ = (
        "__weakref__", "_saved", "edges", "hooks", "in_float32", "needs", "number", "op", "outs", "params", "present",
        "specs",
    )  # fmt: skip

    def __init__(
        self,
        op: type[Op],
        inputs: tuple[Tensor, ...],
        params: dict[str, Any],
        specs: tuple[Spec, ...],
        outs: tuple[Spec, ...],
        results: tuple[Tensor, ...],
    ) -> None:
        self.number = versions.tick()
        self.op, self.params, self.specs, self.outs = op, params, specs, outs
        self.needs: tuple[bool, ...] = tuple(map(_needs, inputs))
        edges: list[Edge | None] = []  # a comprehension is one more call
        for t in inputs:
            edges.append(None if not t.requires_grad else t if t.node is None else (t.node, t.slot))
        self.edges = tuple(edges)
        self.hooks: NodeHooks | None = None
        self.in_float32 = False  # whether the gradient is computed in float32, from 16-bit floats
        self.present: Tensor | None = None  # while its gradients are computed: what they may be added to
        self._saved: Any = _kept(op, inputs, results, self.needs) if op.sources else ()
        told = _noting.get()
        if told is not None:
            told(self)

    @property
    def saved(self) -> tuple[Any, ...]:
        """What the op named in `saves`, in that order; None for what was not given, or is not needed (`saves_for`).

        For "out" it is the result, or the tuple of results where the op has several.

        Raises:
            GradError: if it was freed, or one of the values has been changed in place since.
        """
        if self._saved is None:
            raise GradError(
                f"backward: the values saved by {self.op.name} were freed by an earlier backward; "
                "call that one with retain_graph=True, or run the forward pass again"
            )
        if callable(self._saved):
            return self._saved(self)  # type: ignore[no-any-return]
        if versions.latest > self.number and _is_changed(self._saved, self.number):
            check_unchanged(self, _named(self.op.saves, self._saved))
        values = [
            _made_again(value) if type(value) is Recipe
            else self.linked(value) if source is OUT and value is not None else value
            for source, value in zip(self.op.sources, self._saved, strict=True)
        ]  # fmt: skip
        return tuple(map(in_float32, values) if self.in_float32 else values)

    def kept_inputs(self) -> tuple[Tensor, ...] | None:
        """What it was computed from, if it holds all of that itself."""
        saved = self._saved
        if type(saved) is not tuple or len(saved) != len(self.specs) or any(map(_is_no_tensor, saved)):
            return None
        return saved

    def joined(self) -> tuple[Tensor, ...]:
        """The gradient that others have sent to where that of input `op.joins` goes; whoever asks has to add it."""
        if self.present is None:
            return ()
        present, self.present = self.present, None
        return (present,)

    def keep(self, saved: Any) -> None:
        """Hold `saved` instead of what the op named: a function of the node that gives it, or None to free it."""
        self._saved = saved

    def linked(self, results: tuple[Tensor | None, ...]) -> Any:
        """The results, tied to this node again; alone if it is one."""
        constants = self.op.constants
        linked = tuple(
            [t if t is None or slot in constants else t.linked_to(self, slot) for slot, t in enumerate(results)]
        )
        return linked if len(linked) > 1 else linked[0]

    # -- as PyTorch's grad_fn --------------------------------------------------------------------------------------

    def name(self) -> str:
        """The name of the op."""
        return self.op.name

    @property
    def next_functions(self) -> tuple[tuple[Node | Tensor | None, int], ...]:
        """For each input, the node that made it and which of its results it is; a leaf stands for itself, at 0."""
        return tuple((None, 0) if e is None else e if isinstance(e, tuple) else (e, 0) for e in self.edges)

    def register_prehook(self, fn: Callable[..., Any]) -> RemovableHandle:
        """Call `fn(grad_outputs)` before this step's gradients are computed; a tuple it returns replaces them."""
        return NodeHooks.of(self).before.add(fn)

    def register_hook(self, fn: Callable[..., Any]) -> RemovableHandle:
        """Call `fn(grad_inputs, grad_outputs)` after it; a tuple it returns replaces `grad_inputs`."""
        return NodeHooks.of(self).after.add(fn)

    def __repr__(self) -> str:
        return f"<{self.op.name} at {self.number}>"


def check_unchanged(node: Node, saved: Iterable[tuple[str, Tensor | None]], until: float = math.inf) -> None:
    """Raise an error if the memory of a saved value was changed after the step, and before the tick `until`."""
    for what, t in saved:
        change = None if t is None else versions.change_of(t.array)
        if t is not None and change is not None and node.number < change.tick < until:
            raise GradError(
                f"backward: {node.op.name} still needs {what}, of shape {t.shape}, as it was in the forward pass, but "
                f"{change.op} has changed it in place since (it is at version {change.version}); "
                "change a clone() of it, or use the op without the underscore"
            )


def _is_changed(saved: tuple[Any, ...], since: int) -> bool:
    """Whether the memory of a saved value was changed after the tick `since`."""
    tensors: list[Tensor | None] = []
    for value in saved:
        if type(value) is tuple:
            tensors += value
        elif type(value) is Recipe:
            tensors += value.inputs
        else:
            tensors.append(value)
    return max(versions.last_changes([t.array for t in tensors if t is not None]), default=0) > since


def _kept(
    op: type[Op], inputs: tuple[Tensor, ...], results: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Any, ...]:
    """What `op` saves, None for what no gradient needs.

    Results are kept without their link to the node: with it, node and result would be a cycle.
    """
    if op.saves_results:
        results = tuple([t if i in op.saves_results else None for i, t in enumerate(results)])  # type: ignore[misc]
    saved: list[Any] = []
    for source, users in op.keeps:
        if users is not None and not any(map(needs.__getitem__, users)):
            saved.append(None)
        elif source is OUT:
            saved.append(results)
        elif type(source) is slice:
            saved.append(inputs[source])
        elif source >= len(inputs):
            saved.append(None)
        else:
            value = inputs[source]
            node = value.node
            saved.append(value if node is None or not node.op.recomputes else recipe_or_value(value, node))
    return tuple(saved)


def _named(names: tuple[str, ...], values: tuple[Any, ...]) -> Iterator[tuple[str, Tensor | None]]:
    for name, value in zip(names, values, strict=True):
        what = "its result" if name == "out" else f"its input {name.lstrip('*')}"
        if isinstance(value, Recipe):
            yield from (("what its input is made of", t) for t in value.inputs)
        else:
            yield from ((what, t) for t in (value if isinstance(value, tuple) else (value,)))


def in_float32(value: Any) -> Any:
    """A tensor of 16-bit floats as float32, recorded if steps are; tuples likewise, and anything else as it is."""
    if isinstance(value, tuple):
        return tuple(map(in_float32, value))
    return registry.call("cast", value, float32) if value is not None and is_narrow(value.dtype) else value


def _made_again(recipe: Recipe) -> Tensor:
    """The value that the recipe stands for, at its place on the tape."""
    with recording(False):
        result: Tensor = recipe.op.run(recipe.inputs, recipe.params)
    return result.link(recipe.node, 0)


def _is_no_tensor(value: Any) -> bool:
    return value is None or isinstance(value, tuple)


# Where a gradient goes: result `slot` of a node, or a leaf tensor.
Edge: TypeAlias = "tuple[Node, int] | Tensor"


def edge_of(tensor: Tensor) -> Edge:
    """Where the gradient of `tensor` goes."""
    return tensor if tensor.node is None else (tensor.node, tensor.slot)
